# SPDX-License-Identifier: MIT
"""The cells as plain functions; what `kpmagic.probe` and the like are."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from .cell.options import BY_KEYWORD, is_of
from .cell.script import script_from_keywords
from .cell.syntax import probe_from_keywords
from .channel.connection import Connection
from .model import Kind, Options
from .modules.run import ModuleRun
from .modules.source import module_from_keywords
from .peers.run import PeerRun
from .run import Run
from .session import session
from .starting import start, start_module, start_script


def probe(
    symbol: str | Iterable[str],
    body: str | None = None,
    *,
    target: Connection | str | None = None,
    **options: Any,
) -> Run:
    """Probe the entry of ``symbol`` (or ``symbol+offset``, …) with the C statements of ``body``.

    Without a body every argument becomes a column. ``target`` is a connection, or the default.
    With ``command`` or ``duration`` it returns when the run has ended, otherwise at once.
    Raises KpmagicError.
    """
    return _from_keywords("kprobe", symbol, body, target, options)


def retprobe(
    symbol: str | Iterable[str],
    body: str | None = None,
    *,
    target: Connection | str | None = None,
    **options: Any,
) -> Run:
    """Probe the return of ``symbol``: `probe` with ``retval``, ``latency`` (ns) in the body."""
    return _from_keywords("kretprobe", symbol, body, target, options)


def module(
    name: str, source: str, *, target: Connection | str | None = None, **options: Any
) -> ModuleRun:
    """Build the C ``source`` of a whole kernel module called ``name``, load it, read its log.

    With ``command`` or ``duration`` it returns when the module is out again, otherwise at once.
    Raises KpmagicError.
    """
    asked = module_from_keywords(name, source, options)
    run = start_module(asked, session.connection(target))
    return run.finish() if ends_itself(asked.options) else run


def bpftrace(script: str, *, target: Connection | str | None = None, **options: Any) -> PeerRun:
    """Run a bpftrace ``script`` with the target's own bpftrace.

    With ``command`` or ``duration`` it returns when the run has ended, otherwise when the probes
    are there. Raises KpmagicError.
    """
    asked = script_from_keywords("bpftrace", script, options)
    run = start_script(asked, session.connection(target))
    return run.finish() if ends_itself(asked.options) else run


def bcc(
    source: str,
    *places: str,
    target: Connection | str | None = None,
    **options: Any,
) -> PeerRun:
    """Compile ``source``, in BCC's dialect of C, with the target's own BCC and attach it.

    ``places`` are those of %%bcc: ``"vfs_read"`` for its one function, ``"do_entry=vfs_read"``,
    ``"do_return=vfs_read%return"``; functions called ``kprobe__SYMBOL`` need none.
    Raises KpmagicError.
    """
    asked = script_from_keywords("bcc", source, options, places)
    run = start_script(asked, session.connection(target))
    return run.finish() if ends_itself(asked.options) else run


def _from_keywords(
    kind: Kind,
    symbol: str | Iterable[str],
    body: str | None,
    target: Connection | str | None,
    options: dict[str, Any],
) -> Run:
    asked = probe_from_keywords(kind, symbol, body, options)
    run = start(asked, session.connection(target))
    return run.finish() if ends_itself(asked.options) else run


def ends_itself(options: Options) -> bool:
    """Whether a time or a command ends the run."""
    return options.duration is not None or options.command is not None


def _options_of(magic: str) -> str:
    """Return the options of a magic as a table, as Python calls them."""
    shown = [option for option in BY_KEYWORD.values() if is_of(option, magic)]
    width = max(len(option.keyword) for option in shown)
    lines = [f"    {option.keyword:<{width}}  {option.help}" for option in shown]
    return "\n".join([f"The options are those of %%{magic}:", "", *lines])


for _function, _magic in ((probe, "kprobe"), (retprobe, "kretprobe"), (module, "kmodule"),
                          (bpftrace, "bpftrace"), (bcc, "bcc")):  # fmt: skip
    _function.__doc__ = f"{inspect.getdoc(_function)}\n\n{_options_of(_magic)}\n"
