# SPDX-License-Identifier: MIT
"""An agent's error REPLY → the error a user sees: the one table between the two."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from ..errors import (
    AttachError,
    BuildError,
    KpmagicError,
    MissingDependency,
    NotPermitted,
    TargetError,
    VerifierError,
)

KINDS: dict[str, type[KpmagicError]] = {
    "verifier": VerifierError,
    "load": BuildError,
    "attach": AttachError,
    "module": AttachError,
    "spawn": TargetError,
    "permission": NotPermitted,
    "os": TargetError,
    "request": TargetError,
}

# what perf_event_open and register_kprobe mean by it: kernel/kprobes.c, kernel/trace/trace_kprobe.c
ATTACH: dict[int, tuple[str, str]] = {
    errno.EINVAL: (
        "the kernel does not allow a probe there: it is blacklisted or notrace",
        "probe a function that calls it; %kp symbols shows what can be probed",
    ),
    errno.ENOENT: ("this kernel has no such function", "%kp symbols 'GLOB' lists what there is"),
    errno.EADDRNOTAVAIL: (
        "several functions have this name",
        "choose one by 0xaddress or module:symbol; %kp symbols lists them",
    ),
    errno.EILSEQ: (
        "the offset lies inside an instruction",
        "a probe goes before an instruction: %kp show NAME --stage asm, or objdump, shows them",
    ),
    errno.EBUSY: ("something else holds this place", "see /sys/kernel/debug/kprobes/list there"),
    errno.EOPNOTSUPP: ("this kernel cannot do that", "%kp doctor says what works here"),
    errno.EPERM: ("this kernel does not permit probes", "%kp doctor says why"),
    errno.EACCES: ("this kernel does not permit probes", "%kp doctor says why"),
}
PERMISSION_HINT = "%kp doctor says what is not allowed here and how to allow it"
MEMORY_HINT = (
    "each probe that runs has a ring buffer of its own there (8M unless --buffer says else): "
    "%kp stop those you need no more, or --buffer 64K; a sandbox can have more memory: "
    "%kp target sandbox --memory 1G"
)


class VerifierRefusal(VerifierError):
    """The verifier's refusal of ``program`` with all it said: ``log``."""

    def __init__(self, message: str, log: str, program: str) -> None:
        super().__init__(message)
        self.log = log
        self.program = program


class ModuleRefusal(AttachError):
    """A module that did not go in: what the kernel, or its init, returned, and ``log``."""

    def __init__(self, message: str, number: int, log: str) -> None:
        super().__init__(message)
        self.errno = number
        self.log = log


class MissingRefusal(MissingDependency):
    """A program that the target has not; its name is the message."""


class ToolRefusal(BuildError):
    """Another tracer that ended before its probes were there: with ``code``, after ``log``."""

    def __init__(self, message: str, code: int, log: str) -> None:
        super().__init__(message)
        self.code = code
        self.log = log


def to_error(error: Mapping[str, Any]) -> KpmagicError:
    """Return the KpmagicError for the ``error`` of a REPLY."""
    kind = str(error.get("kind", "os"))
    message = str(error.get("message") or "the target gave no reason")
    number = error.get("errno")
    if kind == "attach":
        return _attach(message, number, str(error.get("program") or ""))
    if kind == "verifier":
        log = str(error.get("log") or "")
        return VerifierRefusal(_last_sentence(log) or message, log, str(error.get("program") or ""))
    if kind == "module":
        return ModuleRefusal(message, int(number or 0), str(error.get("log") or ""))
    if kind == "missing":
        return MissingRefusal(message)
    if kind == "tool":
        return ToolRefusal(message, int(number or 0), str(error.get("log") or ""))
    hint = PERMISSION_HINT if kind == "permission" else ""
    if number == errno.ENOMEM:
        hint = MEMORY_HINT
    return KINDS.get(kind, TargetError)(message, hint=hint)


def _attach(message: str, number: Any, program: str) -> KpmagicError:
    if not isinstance(number, int) or number not in ATTACH:
        named = f" ({errno.errorcode.get(number, number)}: {os.strerror(number)})" \
            if isinstance(number, int) else ""  # fmt: skip
        return AttachError(f"{message}{named}")
    why, hint = ATTACH[number]
    kind = NotPermitted if number in (errno.EPERM, errno.EACCES) else AttachError
    place = message.partition(": ")[0]  # libbpf.py names it in quotes
    about = place if place.endswith(("'", "' first")) else program
    return kind(f"{about + ': ' if about else ''}{why} ({errno.errorcode[number]})", hint=hint)


def _last_sentence(log: str) -> str:
    """Return the verifier's verdict: its last line that is neither a statistic nor an insn."""
    for line in reversed(log.splitlines()):
        text = line.strip()
        if text and not text.startswith(("processed ", "verification time", "stack depth")):
            return text
    return ""
