# SPDX-License-Identifier: MIT
"""Why a module did not go in: the kernel's errno and log, and the module's own source."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

from ..channel.refusals import ModuleRefusal
from ..errors import AttachError
from ..model import Module
from .kernel_log import parse
from .source import WORD, missing_functions

LOG_LINES = 6
# kernel/module/main.c: simplify_symbols, same_magic, check_version
UNKNOWN = re.compile(r"Unknown symbol (\w+)")
OWN_WORDS = {
    errno.EEXIST: "choose another name, or take that one out: rmmod",
    errno.EKEYREJECTED: "this kernel takes signed modules only: a sandbox takes others",
    errno.ENOKEY: "this kernel takes signed modules only: a sandbox takes others",
}


def explain(refusal: ModuleRefusal, module: Module, exists: Callable[[str], bool]) -> AttachError:
    """Return what a user can do about a module that did not go in."""
    said = [record.text for record in parse(refusal.log.splitlines())]
    shown = "".join(f"\n  {text}" for text in said[-LOG_LINES:])
    unknown = next((match[1] for text in said if (match := UNKNOWN.search(text))), "")
    if unknown:
        return AttachError(f"module {module.name!r}: the kernel has no {unknown!r} for it{shown}",
                           hint="a module may call exported functions only")  # fmt: skip
    if refusal.errno in OWN_WORDS or refusal.errno == errno.ENOEXEC:
        return AttachError(f"{refusal.message}{shown}", hint=OWN_WORDS.get(refusal.errno, ""))
    code = refusal.errno
    name = errno.errorcode.get(code, str(code))
    what = f"module {module.name!r}: its init returned -{code} ({name}: {os.strerror(code)})"
    if code == errno.ENOENT:
        return _no_function(what + shown, module, exists)
    return AttachError(what + shown, hint="the kernel's log above is what it said before that")


def _no_function(what: str, module: Module, exists: Callable[[str], bool]) -> AttachError:
    """register_kprobe() found no function of that name."""
    renamed = missing_functions(module.source, exists)
    if renamed:
        first = renamed[0]
        return AttachError(
            f"{what}\n{first.name!r} is {first.now!r} in this kernel ({first.note})",
            hint="--rename builds it with the name of today",
            place=module.place_of(first.offset),
        )
    words = [match for match in WORD.finditer(module.source) if _is_symbol(module.source, match)]
    unknown = [match for match in words if not exists(match["word"])]
    if unknown:
        place = module.place_of(unknown[0].start("word"))
        name = unknown[0]["word"]
        return AttachError(f"{what}\nthis kernel has no function {name!r}",
                           hint=f"%kp symbols '*{name[:8]}*' lists what comes near",
                           place=place)  # fmt: skip
    return AttachError(what, hint="register_kprobe() returns it for a function that is not there")


def _is_symbol(source: str, match: re.Match[str]) -> bool:
    """Whether a string is given to ``symbol_name``, or to an array called ``symbol``."""
    begin = source.rfind("\n", 0, match.start()) + 1
    return "symbol" in source[begin : match.start()]
