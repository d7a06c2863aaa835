# SPDX-License-Identifier: MIT
"""%%kmodule: a cell that is a whole kernel module's C source → Module."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from ..cell.syntax import Line, options_from_keywords
from ..errors import CellError
from ..kernel.renames import renamed
from ..model import Module

# linux/module.h: MODULE_NAME_LEN is 56 with the NUL, on 64 bits
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,54}")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include(?:_next)?[ \t]*["<](?P<path>[^">\n]*)[">]', re.M)
# a string that could name a function: what a struct kprobe's symbol_name is given
WORD = re.compile(r'"(?P<word>[A-Za-z_][A-Za-z0-9_.]*)"')

LINE_HINT = "usage: %%kmodule NAME [options], and the module's C source below it"


def parse_module(line: str, source: str, *, cell: str = "cell") -> Module:
    """Return what a %%kmodule cell asks for. Raises CellError."""
    parsed = Line("kmodule", line, source, cell, {})
    named = parsed.words()
    if len(named) != 1:
        at = named[1].start if named else len(line.rstrip())
        parsed.fail("a module has one name" if named else "the module has no name", at, LINE_HINT)
    if not NAME.fullmatch(named[0].text):
        parsed.fail(*_bad_name(named[0].text, named[0].start))
    return checked(Module(named[0].text, source, parsed.options(), cell))


def module_from_keywords(name: str, source: str, keywords: Mapping[str, Any]) -> Module:
    """Return the Module of ``kpmagic.module(name, source, **keywords)``. Raises CellError."""
    options = options_from_keywords("kmodule", keywords)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        message, _, hint = _bad_name(name, 0)
        raise CellError(message, hint=hint)
    return checked(Module(name, source, options, "source", 1))


def _bad_name(name: object, at: int) -> tuple[str, int, str]:
    hint = "a module's name is a C identifier of at most 55 characters, such as my_module"
    return f"{name!r} cannot be a module's name", at, hint


def checked(module: Module) -> Module:
    """Return ``module`` if its source may be compiled. Raises CellError."""
    if not isinstance(module.source, str) or not module.source.strip():
        raise CellError("the module has no source", hint=LINE_HINT)
    if "\0" in module.source:
        _refuse(module, module.source.index("\0"), "a NUL character in the cell")
    for match in INCLUDE.finditer(module.source):
        path = match["path"]
        if path.startswith("/") or ".." in path.split("/"):
            _refuse(module, match.start("path"), f"{path!r} is outside the kernel's headers")
    return module


def _refuse(module: Module, offset: int, message: str) -> NoReturn:
    hint = "a module includes the kernel's own headers, such as <linux/module.h>"
    raise CellError(message, hint=hint, place=module.place_of(offset))


@dataclass(frozen=True)
class Missing:
    """A function that the source names and the kernel does not have; ``offset`` of its string.

    ``now`` is its name in this kernel, ``note`` how it came by it; empty for an unknown one.
    """

    name: str
    offset: int
    now: str
    note: str


def missing_functions(source: str, exists: Callable[[str], bool]) -> list[Missing]:
    """Return the renamed functions among the strings of a module's source."""
    found = []
    for match in WORD.finditer(source):
        name = match["word"]
        now, note = (None if exists(name) else renamed(name, exists)) or ("", "")
        if now:
            found.append(Missing(name, match.start("word"), now, note))
    return found


def rename(module: Module, exists: Callable[[str], bool]) -> Module:
    """Return ``module`` with the names its functions have in this kernel."""
    found = missing_functions(module.source, exists)
    source = module.source
    for each in reversed(found):
        source = source[: each.offset] + each.now + source[each.offset + len(each.name) :]
    notes = dict.fromkeys(each.note for each in found)
    return replace(module, source=source, note="; ".join(notes))
