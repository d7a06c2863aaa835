# SPDX-License-Identifier: MIT
"""The subcommands of ``%kp``, which ``python -m kpmagic`` has too: one table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..cell.syntax import suggestion
from ..cell.values import natural
from ..channel.connection import Connection
from ..connecting import SANDBOX_OPTIONS
from ..errors import CellError, Place
from ..modules.run import ModuleRun
from ..run import Run
from ..saved.paths import path_of
from ..session import AnyRun, session
from ..terminal import without_codes
from ..view.clean import clean, clean_lines
from ..view.mechanisms import Mechanisms
from ..view.table import Table
from .answering import answered
from .asking import kernels, symbols, trampoline
from .declared import signature, struct
from .stages import STAGES, stage
from .words import one, options_of


@dataclass(frozen=True)
class Subcommand:
    """One subcommand: ``function`` takes the words behind it, prints, and may return a value:
    a number, a Run, or what is shown as text or HTML.

    ``raw``: it takes the rest of the line as it is typed. ``shell``: a shell has it too.
    ``asks``: it asks the target's kernel, or a recording.
    """

    name: str
    usage: str
    help: str
    function: Callable[[list[str]], Any]
    raw: bool = False
    shell: bool = False
    asks: bool = False

    def check(self, words: list[str]) -> None:
        """Refuse words where it takes none, before anything is done. Raises CellError."""
        if words and self.usage == self.name:
            raise CellError(f"%kp {self.name} takes nothing: {shlex.join(words)}",
                            hint="%kp alone lists what takes something")  # fmt: skip


def run_line(line: str) -> Any:
    """Do what a ``%kp`` line says. Raises KpmagicError."""
    if not line.strip():
        print(overview())
        return None
    name, rest = (*line.strip().split(maxsplit=1), "")[:2]
    try:
        words = shlex.split(rest, True)
        if name in BY_NAME and BY_NAME[name].raw and len(words) != 1:
            words = [rest]  # for a shell of its own; one quoted word is that of --while
    except ValueError as error:
        place = Place(1, len(f"%kp {line}"), f"%kp {line}")
        raise CellError(f"{str(error).lower()} on this line", place=place) from None
    subcommand = find(name)
    subcommand.check(words)
    if subcommand.asks:
        if " " in subcommand.usage and not any(words):  # before a target is started for nothing
            raise CellError(f"usage: %kp {subcommand.usage}")
        return answered(name, words, subcommand.function)
    return subcommand.function(words)


def find(name: str) -> Subcommand:
    """Return a subcommand. Raises CellError."""
    if name not in BY_NAME:
        hint = suggestion(name, BY_NAME) or "%kp alone lists them"
        raise CellError(f"no subcommand {name!r}", hint=hint)
    return BY_NAME[name]


def overview() -> str:
    """Return the subcommands, a line each."""
    width = max(len(each.usage) for each in SUBCOMMANDS)
    return "\n".join(f"%kp {each.usage:<{width}}  {each.help}" for each in SUBCOMMANDS)


def target(words: list[str]) -> None:
    """Print the default target, or choose another."""
    names, options = options_of(words, (*SANDBOX_OPTIONS, "speed"))
    if not names and not options:
        now = session.default
        print(_named(now) if now else f"{session.name}, not started yet")
        return
    name = one(names or ["sandbox"], "%kp target NAME [--kernel V] [--memory 512M] [--cpus 2]")
    connection = session.use(name, **options)
    print(_named(connection))
    if connection.cwd_note:
        print(clean(connection.cwd_note))


def _named(connection: Connection) -> str:
    return clean(f"{connection.name} {connection.release}")


def run(words: list[str]) -> int:
    """Run a command on the target; its output appears as it comes."""
    command = one(words, "%kp run CMD")

    def show(stream: str, text: str) -> None:
        print(text, end="", file=sys.stderr if stream == "stderr" else sys.stdout, flush=True)

    return session.connection().run(command, show)


def list_(words: list[str]) -> None:
    """Print the probes by name."""
    runs = session.runs()
    if not runs:
        print("no probe yet")
        return
    rows = [(clean(each.name), each.state, clean(each.stopped_by or ""), str(each.stats.rows),
             each.connection.name) for each in runs]  # fmt: skip
    print(Table(("name", "state", "stopped by", "rows", "target"), tuple(rows),
                (False, False, False, True, False)).text())  # fmt: skip
    loaded = [each for each in runs if isinstance(each, ModuleRun) and each.state == "running"]
    if loaded:
        print(of_modules(loaded).text())


def of_modules(loaded: Sequence[ModuleRun]) -> Table:
    """Return the modules that are in a kernel, as lsmod shows them."""
    rows = []
    for each in loaded:
        usage = each.usage()
        if usage is not None:
            size, count, by = usage
            rows.append((clean(each.name), str(size), f"{count} {clean(by)}".rstrip()))
    return Table(("module", "size", "used by"), tuple(rows), (False, True, False))


def stop(words: list[str]) -> None:
    """Stop probes; all that run when none is named."""
    for each in _runs(words):
        if each.state == "running":
            each.stop()
            print(f"{clean(each.name)} stopped, {each.stats.rows} rows")
            if each.state == "failed":
                print(f"  {clean(each.error)}")


def _runs(names: list[str]) -> list[AnyRun]:
    return session.runs() if names in ([], ["all"]) else [session.find(name) for name in names]


def start(words: list[str]) -> AnyRun:
    """Start a stopped probe again; its old rows are dropped."""
    run = session.find(one(words, "%kp start NAME")).start()
    session.add(run)
    return run


def remove(words: list[str]) -> None:
    """Stop a probe and forget it."""
    session.remove(session.find(one(words, "%kp remove NAME")))


def panel(words: list[str]) -> None:
    """Show probes, target and a search as a widget."""
    from ..panel_actions import ACTIONS
    from ..view.panel_all import FullPanel
    from ..view.widgets import show_widget

    show_widget(FullPanel(ACTIONS))


def show(words: list[str]) -> None:
    """Print what a probe was made into."""
    names, options = options_of(words, ("stage",))
    usage = f"%kp show NAME [--stage {'|'.join(STAGES)}]"
    print(without_codes(stage(session.newest(one(names, usage)), options.get("stage", "source"))))


def mechanisms(words: list[str]) -> Mechanisms:
    """Measure what a hit costs by each way into the kernel."""
    from ..overhead.measure import CALLS, ROUNDS
    from ..overhead.measure import mechanisms as measured

    names, options = options_of(words, ("calls", "rounds", "while"))
    symbol = one(names, "%kp mechanisms SYMBOL [--calls N] [--rounds N] [--while COMMAND]")
    calls, rounds = _number(options, "calls", CALLS), _number(options, "rounds", ROUNDS)
    return measured(symbol, calls=calls, rounds=rounds, command=options.get("while", ""))


def _number(options: dict[str, str], name: str, default: int) -> int:
    try:
        return natural(options.get(name, default))
    except ValueError as error:
        raise CellError(f"--{name} {options[name]}: {error}") from None


def export(words: list[str]) -> None:
    """Write a probe's cell as source that does the same without kpmagic."""
    from ..build import compiler_of
    from ..modules.build import headers_of
    from ..standalone.write import LANGUAGES, Kernel, export

    names, options = options_of(words, ("as",))
    usage = f"%kp export NAME --as {'|'.join(LANGUAGES)} [FOLDER]"
    if not names or len(names) > 2 or "as" not in options:
        raise CellError(f"usage: {usage}")
    run = session.find(names[0])
    if not isinstance(run, Run):
        raise CellError(f"{run.name} is no probe: its source is what it was given",
                        hint=f"%kp show {run.name}")  # fmt: skip
    connection = session.connection()
    kernel = Kernel(
        compiler_of(run.plan, connection.facts(session.progress)),
        lambda: headers_of(connection.target, run.plan.release, session.progress),
    )
    made = export(run, options["as"], path_of(names[1] if len(names) > 1 else "."), kernel)
    print(f"{made}: make builds it" if made.is_dir() else made)


def dmesg(words: list[str]) -> None:
    """Print the target's kernel log."""
    for record in session.connection().kernel_log():
        # Documentation/ABI/testing/dev-kmsg: priority,sequence,µs,flags;text
        head, _, text = record.partition(";")
        fields = head.split(",")
        stamp = int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdigit() else 0.0
        print(f"[{stamp:12.6f}] {clean(text.splitlines()[0] if text else '')}")


def doctor(words: list[str]) -> None:
    """Print what works here, and the command that mends what does not."""
    from .doctor import checks

    for check in checks(session.default):
        print(clean_lines(str(check)))


def clean_up(words: list[str]) -> None:
    """End everything, also what was left on targets; drop what is made again in a moment."""
    from .cleaning import clean_cache, clean_targets

    for line in clean_targets(session.connections):
        print(clean(line))
    for each in session.runs():
        if each.state == "running":
            print(f"stopped {clean(each.name)} on {each.connection.name}")
    for connection in session.connections:
        print(f"ended {connection.name}")
    session.close()
    for line in clean_cache():
        print(line)


SUBCOMMANDS: tuple[Subcommand, ...] = (
    Subcommand("target", "target [sandbox|local|ssh://USER@HOST|replay:PATH] [--kernel V] …",
               "the machine that is probed; shows or changes it", target),
    Subcommand("run", "run CMD", "run a shell command on the target; returns its exit code", run,
               raw=True, shell=True, asks=True),
    Subcommand("list", "list", "the probes by name", list_),
    Subcommand("stop", "stop [NAME…|all]", "stop probes", stop),
    Subcommand("start", "start NAME", "start a stopped probe again; old rows are dropped", start),
    Subcommand("remove", "remove NAME", "stop a probe and forget it", remove),
    Subcommand("panel", "panel", "every probe with its buttons, the target, a search", panel),
    Subcommand("show", f"show NAME [--stage {'|'.join(STAGES)}]",
               "what a probe was made into", show),
    Subcommand("export", "export NAME --as libbpf|module|bcc|bpftrace|tracefs [FOLDER]",
               "write a cell as source that needs no kpmagic", export),
    Subcommand("symbols", "symbols GLOB", "functions that can be probed", symbols, shell=True,
               asks=True),
    Subcommand("sig", "sig SYMBOL", "a function's parameters", signature, shell=True,
               asks=True),
    Subcommand("struct", "struct TYPE[.MEMBER…] [--depth N]",
               "a type's members, with offsets and sizes", struct,
               shell=True, asks=True),
    Subcommand("trampoline", "trampoline NAME",
               "what a running probe has made of the kernel's code", trampoline, asks=True),
    Subcommand("mechanisms", "mechanisms SYMBOL [--calls N] [--rounds N] [--while COMMAND]",
               "what a hit costs: bpf, fentry, tracefs, modules", mechanisms, shell=True,
               asks=True),
    Subcommand("dmesg", "dmesg", "the target's kernel log", dmesg, shell=True, asks=True),
    Subcommand("doctor", "doctor", "what works here, and what mends the rest", doctor, shell=True),
    Subcommand("kernels", "kernels [fetch|remove VERSION]", "the sandbox's kernels", kernels,
               shell=True),
    Subcommand("clean", "clean", "end everything; empty the cache but for kernels and their types",
               clean_up, shell=True),
)  # fmt: skip
BY_NAME = {each.name: each for each in SUBCOMMANDS}
