# SPDX-License-Identifier: MIT
"""The IPython magics: parse the line, call the same functions as everybody, show the card.

Importing this starts nothing; what is heavy is imported by the first magic that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from .cell.options import help_text
from .cell.syntax import parse_probe
from .cell.vocabulary import help_text as words_text
from .errors import CellError, TargetError
from .view.front_end import has_displays, is_headless

if TYPE_CHECKING:
    from .cell.script import Script
    from .model import Kind, Options, Probe
    from .modules.run import ModuleRun
    from .peers.run import PeerRun
    from .run import Run
    from .view.complete import Known
    from .view.live import Panel


@magics_class
class KpmagicMagics(Magics):
    """The magics of probes, modules and other tracers, and ``%kp``."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.shown: tuple[int, int] = (-1, -1)

    @no_var_expand
    @line_cell_magic
    def kprobe(self, line: str, cell: str | None = None) -> Run:
        return self._probe("kprobe", line, cell)

    @no_var_expand
    @line_cell_magic
    def kretprobe(self, line: str, cell: str | None = None) -> Run:
        return self._probe("kretprobe", line, cell)

    @no_var_expand
    @cell_magic
    def kmodule(self, line: str, cell: str) -> ModuleRun:
        from .api import ends_itself
        from .modules.source import parse_module
        from .session import session
        from .starting import start_module

        count = self.shell.execution_count
        asked = parse_module(line, cell, cell=f"In[{count}]")
        check_headless(asked.options, self.shell)
        panel = self._panel(bool(asked.options.quiet or asked.options.out))

        def bind(run: ModuleRun) -> None:
            if asked.options.out:
                self.shell.user_ns[asked.options.out] = run

        with _progress(panel):
            run = start_module(asked, session.connection(asked.options.target or None), bind)
        self.shown = (count, id(run))
        blocking = ends_itself(asked.options) and not asked.options.dry_run
        _show(run, panel, blocking)
        return run

    @no_var_expand
    @cell_magic
    def bpftrace(self, line: str, cell: str) -> PeerRun:
        from .cell.script import parse_script

        return self._script(parse_script("bpftrace", line, cell, cell=self._cell()))

    @no_var_expand
    @cell_magic
    def bcc(self, line: str, cell: str) -> PeerRun:
        from .cell.script import parse_script

        names = self.shell.user_ns
        return self._script(parse_script("bcc", line, cell, cell=self._cell(), names=names))

    def _cell(self) -> str:
        return f"In[{self.shell.execution_count}]"

    def _script(self, asked: Script) -> PeerRun:
        from .api import ends_itself
        from .session import session
        from .starting import start_script

        check_headless(asked.options, self.shell)
        panel = self._panel(bool(asked.options.quiet or asked.options.out))

        def bind(run: PeerRun) -> None:
            if asked.options.out:
                self.shell.user_ns[asked.options.out] = run

        with _progress(panel):
            run = start_script(asked, session.connection(asked.options.target or None), bind)
        self.shown = (self.shell.execution_count, id(run))
        blocking = ends_itself(asked.options) and not asked.options.dry_run
        _show(run, panel, blocking)
        return run

    @no_var_expand
    @line_magic
    def kp(self, line: str) -> Any:
        from .kp.commands import run_line
        from .view.live import show_value
        from .view.mechanisms import Mechanisms
        from .view.picture import show_figure
        from .view.trampoline import Trampoline

        panel = self._panel(quiet=True)
        with _progress(panel):
            result = run_line(line)
        if not isinstance(result, (Mechanisms, Trampoline)):
            return result
        show_value(result)
        if isinstance(result, Mechanisms) and has_displays(self.shell):
            show_figure(result.plot(), f"a chart of {result.symbol}")
        return None

    def _probe(self, kind: Kind, line: str, cell: str | None) -> Run:
        count = self.shell.execution_count
        asked = parse_probe(kind, line, cell, cell=f"In[{count}]", names=self.shell.user_ns)
        check_headless(asked.options, self.shell)
        quiet = bool(asked.options.quiet or asked.options.out)
        panel = self._panel(quiet)
        run = self._start(asked, panel)
        self.shown = (count, id(run))
        from .api import ends_itself

        _show(run, panel, ends_itself(asked.options) and not asked.options.dry_run)
        return run

    def _start(self, asked: Probe, panel: Panel) -> Run:
        from .session import session
        from .starting import start

        def bind(run: Run) -> None:
            if asked.options.out:
                self.shell.user_ns[asked.options.out] = run

        with _progress(panel):
            return start(asked, session.connection(asked.options.target or None), bind)

    def _panel(self, quiet: bool) -> Panel:
        from .view.live import Panel

        return Panel(updates=has_displays(self.shell), quiet=quiet,
                     buttons=not is_headless(self.shell))  # fmt: skip

    def display(self, run: Run | ModuleRun | PeerRun) -> None:
        """Show a Run that a cell ends with, unless its magic has shown it in this very cell."""
        if self.shown != (self.shell.execution_count, id(run)):
            from .view.live import show

            show(run)


KpmagicMagics.kprobe.__doc__ = f"""Probe a kernel function, or a place in it, with a little C.

    %%kprobe SPEC… [options]        SPEC: symbol, symbol+offset, module:symbol, 0xaddress
    emit(a, b = expr);

%kprobe without a body makes a column of every argument. Returns the Run.

{help_text()}

Words of the body, beside C, the function's parameters, pid, tid, uid, comm, cpu, ts, func, regs:

{words_text()}
"""
KpmagicMagics.kretprobe.__doc__ = f"""Probe a kernel function's return with a few C statements.

    %%kretprobe SYMBOL… [options]
    emit(retval, latency);          latency in ns; the arguments are those at entry

%kretprobe without a body makes a column of retval, latency and every argument. Returns the Run.

{help_text()}
"""
KpmagicMagics.kmodule.__doc__ = f"""Build a kernel module from the cell, load it, show the log.

    %%kmodule NAME [options]
    #include <linux/module.h>       the C source, kept to the letter

The module is in the kernel until its run ends; df() is the kernel's log since. Returns the run.

{help_text("kmodule")}
"""
KpmagicMagics.bpftrace.__doc__ = f"""Hand the cell to the target's own bpftrace.

    %%bpftrace [options]
    kprobe:vfs_read {{ @[comm] = count(); }}

df() has a row for each line that it prints, aggregates its maps as tables. Returns the run.

{help_text("bpftrace")}
"""
KpmagicMagics.bcc.__doc__ = f"""Compile the cell with the target's own BCC, in its dialect of C.

    %%bcc [SPEC…] [options]         SPEC, or FUNCTION=SPEC, or FUNCTION=SPEC%return
    BPF_HASH(counts);               functions called kprobe__SYMBOL need no SPEC
    int hello(void *ctx) {{ counts.increment(0); return 0; }}

df() has a row for each event of BPF_PERF_OUTPUT and each line of bpf_trace_printk, aggregates
are the tables. Returns the run.

{help_text("bcc")}
"""
KpmagicMagics.kp.__doc__ = "Everything but probes: %kp alone lists the subcommands."


class _progress:
    """While it is entered, whatever takes long says so in ``panel``."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel

    def __enter__(self) -> None:
        from .session import session

        self._before, session.progress = session.progress, self.panel.say

    def __exit__(self, kind: object, *_: object) -> None:
        from .session import session

        session.progress = self._before
        if kind is not None or self.panel.quiet:
            self.panel.done()


def _show(run: Run | ModuleRun | PeerRun, panel: Panel, blocking: bool) -> None:
    """Show a run, to its end when the cell waits for it.

    Raises TargetLost when that was cut short, and TargetError when it failed: a notebook's runner
    must see that.
    """
    (panel.watch if blocking else panel.follow)(run)
    panel.done()
    if blocking and run.stopped_by == "target-lost":
        raise run.lost()
    if blocking and run.state == "failed":
        raise TargetError(run.error, hint="-o NAME keeps the run, with what had come until then")


def check_headless(chosen: Options, shell: InteractiveShell) -> None:
    """Refuse a probe whose end nobody would bring about. Raises CellError."""
    ends = chosen.duration or chosen.command or chosen.background or chosen.dry_run
    if not ends and is_headless(shell):
        raise CellError(
            "nobody is there to stop this probe: a notebook run without its user needs an end",
            hint="add --for 5s, --while 'COMMAND', or --bg and %kp stop",
        )


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext kpmagic``: silent, and nothing starts."""
    magics = KpmagicMagics(shell)
    shell.register_magics(magics)
    if shell.display_formatter is not None:
        formatter = shell.display_formatter.ipython_display_formatter
        formatter.for_type_by_name("kpmagic.run", "Run", magics.display)
        formatter.for_type_by_name("kpmagic.modules.run", "ModuleRun", magics.display)
        formatter.for_type_by_name("kpmagic.peers.run", "PeerRun", magics.display)
    from .view import complete_shell

    complete_shell.add(shell, known)


def known() -> Known:
    """Return what completion may use now; nothing is asked of a target."""
    from .kp.commands import SUBCOMMANDS
    from .session import session
    from .view.complete import Known

    return Known(
        facts=session.default.known_facts if session.default else None,
        probes=tuple(run.name for run in session.runs()),
        subcommands={each.name: each.usage for each in SUBCOMMANDS},
    )


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext kpmagic``: stop every probe, end the targets, take the magics away."""
    from .session import session
    from .view import complete_shell

    session.close()
    complete_shell.remove(shell)
    probes = ("kprobe", "kretprobe")
    cells = (*probes, "kmodule", "bpftrace", "bcc")
    for kind, names in (("line", (*probes, "kp")), ("cell", cells)):
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
