# SPDX-License-Identifier: MIT
"""What one probe needs to know of a kernel beyond what every probe does: read when it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from kpmagic.errors import SymbolError, TargetError, TargetLost
from kpmagic.kernel import syscalls
from kpmagic.kernel.facts import KernelFacts, with_modules
from kpmagic.kernel.kept import Read, first_readable
from kpmagic.kernel.module_types import read_module_types
from kpmagic.model import MAX_TIME, Function, Probe
from kpmagic.resolve import needs_modules

WAIT_STEP = 0.25
LARGEST_FUNCTION = 1 << 20  # bytes; what lies further behind a symbol is not its code
LOADED = "/sys/module/{}/initstate"


def facts_for(
    probe: Probe, facts: KernelFacts, read: Read, progress: Callable[[str], None] | None = None
) -> KernelFacts:
    """Return ``facts`` with what ``probe`` needs besides: modules and system calls.

    With ``--wait`` it returns when the modules that are named are loaded. Raises SymbolError.
    """
    if probe.options.wait:
        _wait(probe, read, progress or (lambda _: None))
    calls = {
        call: function
        for call in map(syscalls.call_of, _entries(probe, facts))
        if (function := _prototype(call, read)) is not None
    }
    if calls:
        facts = replace(facts, syscalls=calls)
    if needs_modules(probe, facts) or "kstack" in (probe.body or ""):
        facts = with_modules(facts, read)
        facts = replace(facts, module_types=read_module_types(probe.specs, facts, read))
    return facts


def function_names(
    facts: KernelFacts, in_process: Callable[[int, int, int], str]
) -> Callable[[int, int, int], str]:
    """Return what names the function of a process (0: the kernel) that an address is in."""

    def name(pid: int, address: int, program: int) -> str:
        if pid:
            return in_process(pid, address, program)
        found = facts.symbols.at(address)
        return found[0].name if found is not None and found[1] < LARGEST_FUNCTION else ""

    return name


def _entries(probe: Probe, facts: KernelFacts) -> list[str]:
    names = filter(None, map(syscalls.plain_name, probe.specs))
    return [entry for name in names for entry in syscalls.entries(name, facts)]


def _prototype(call: str, read: Read) -> Function | None:
    """Return a system call's prototype, None where the kernel does not tell."""
    text = first_readable(read, (path.format(call) for path in syscalls.FORMATS))
    return None if text is None else syscalls.prototype(call, text.decode("utf-8", "replace"))


def _wait(probe: Probe, read: Read, progress: Callable[[str], None]) -> None:
    """Return when every module the probe names is loaded; an interrupt ends it. Raises SymbolError.

    The time is that of ``--max-time``, or its default.
    """
    end = time.monotonic() + (probe.options.max_time or MAX_TIME) / 1e9
    for module in dict.fromkeys(s.module for s in probe.specs if s.module not in ("", "syscall")):
        if not _is_loaded(module, read):
            progress(f"waiting for module {module}")
        while not _is_loaded(module, read):
            if time.monotonic() > end:
                raise SymbolError(
                    f"module {module!r} was not loaded in time",
                    hint="--max-time says how long --wait waits",
                )
            time.sleep(WAIT_STEP)


def _is_loaded(module: str, read: Read) -> bool:
    try:
        return read(LOADED.format(module)).strip() == b"live"
    except TargetLost:
        raise
    except TargetError:
        return False
