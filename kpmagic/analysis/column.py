# SPDX-License-Identifier: MIT
"""An expression of a body → a column: its type, how it is stored, its C with safe loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from kpmagic.analysis.diagnosis import Diagnosis
from kpmagic.cell.body import Argument, Call
from kpmagic.cell.handler import Column, Form
from kpmagic.cell.marked import Marked
from kpmagic.cell.scope import in_scope
from kpmagic.cell.text import Edit, apply
from kpmagic.errors import CellError
from kpmagic.model import LeftOut, Plan, Site
from kpmagic.record import CType

STRING_SIZE = 128
MAX_STRING = 1024
STACK_DEPTH = 64
MAX_STACK = 127  # linux/perf_event.h: PERF_MAX_STACK_DEPTH
BASE = "\0"  # compiler/types.py
MAX_KEY = 512  # bytes; linux/filter.h: MAX_BPF_STACK limits the keys of a hash map

_STACK_KINDS: dict[str, Literal["kstack", "ustack"]] = {
    "kernel_stack": "kstack",
    "user_stack": "ustack",
}


class Expressions:
    """What is known of one site's expressions; ``edits`` are those that clang's walk asked for."""

    def __init__(
        self,
        plan: Plan,
        site: Site,
        marked: Marked,
        edits: Sequence[Edit],
        diagnosis: Diagnosis,
    ) -> None:
        self.plan, self.site, self.marked, self._edits = plan, site, marked, edits
        self._diagnosis = diagnosis

    def text(self, argument: Argument) -> str:
        """Return an argument as the user wrote it."""
        return self.marked.body.body.text[argument.start : argument.end]

    def parsed(self, found: dict[str, Any]) -> str:
        """Return an argument as clang saw it: with values for what -D names."""
        return self.marked.text[found["start"] : found["end"]]

    def code(self, start: int, end: int) -> str:
        """Return a stretch of the parsed text with its loads made safe."""
        inside = [
            Edit(edit.start - start, edit.end - start, edit.text)
            for edit in self._edits
            if start <= edit.start and edit.end <= end
        ]
        return apply(self.marked.text[start:end], inside)

    def keys(self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]]) -> list[Column]:
        """Return the columns of a key; a stack of no given depth has what room the others leave."""
        keys = [self.column(argument.name, argument, found) for argument, found in pairs]
        open_ = [found["form"] in _STACK_KINDS and not found["depth"] for _, found in pairs]
        fixed = sum(key.type.size + 7 & ~7 for key, o in zip(keys, open_, strict=True) if not o)
        room = MAX_KEY - 8 - fixed - 8 * sum(open_)
        if room < 8 * sum(open_) or room < 0:
            self._diagnosis.fail(
                call.start,
                f"the keys are longer than {MAX_KEY - 8} bytes",
                "shorten a text or a stack: str(p, 32), kstack(16)",
            )
        depth = min(STACK_DEPTH, room // 8 // sum(open_)) if any(open_) else 0
        return [
            replace(key, type=_stack_type(key.form, depth, "")) if o else key
            for key, o in zip(keys, open_, strict=True)
        ]

    def _stack(self, name: str, argument: Argument, found: dict[str, Any]) -> Column:
        text = found["depth"]
        depth = int(text) if text.isdigit() else 0 if text else STACK_DEPTH
        if not 1 <= depth <= MAX_STACK:
            self._diagnosis.fail(
                argument.start, f"a stack's depth is a number from 1 to {MAX_STACK}"
            )
        return Column(name, _stack_type(found["form"], depth, text), found["form"], "")

    def column(self, name: str, argument: Argument, found: dict[str, Any]) -> Column:
        """Return the column of an argument that clang has described. Raises CellError."""
        about, form = found["type"], found["form"]
        if form in _STACK_KINDS:
            return self._stack(name, argument, found)
        start, end = found.get("inner") or (found["start"], found["end"])
        # of a member the code is known but for the struct that it is of
        code = found.get("code", BASE).replace(BASE, self.code(start, end))
        if form in ("kernel_string", "user_string"):
            size = self._string_size(argument, found.get("string_size", ""))
            return Column(name, CType("string", size, name=about["name"]), form, code)
        if form == "errno":
            return Column(name, CType("errno", 8, True, about["name"]), "value", code)
        ctype = self._type(argument, about)
        own = "code" not in found and self.text(argument) in in_scope(self.plan, self.site)
        if ctype.kind == "string" and not own:
            # As a string, with room for the NUL: what is behind one must not tell keys apart.
            return Column(name, replace(ctype, size=ctype.size + 1), "kernel_string", code)
        return Column(name, ctype, form if about["kind"] == "array" else "value", code)

    def members(
        self, name: str, argument: Argument, found: dict[str, Any], depth: int
    ) -> tuple[list[Column], list[LeftOut]]:
        """Return a column for each member of a struct, and what cannot be one.

        ``depth`` is how many levels of structs in structs are gone down.
        """
        columns: list[Column] = []
        left_out: list[LeftOut] = []
        for member in found["members"]:
            path = f"{name}.{member['path']}"
            if member["level"] > depth:
                continue
            if member["type"]["kind"] == "record":
                if member["level"] == depth:
                    left_out.append(LeftOut(path, f"deeper than --depth {depth}"))
                continue
            try:
                columns.append(self.column(path, argument, found | member))
            except CellError as error:
                left_out.append(LeftOut(path, f"no column ({error.message})"))
        return columns, left_out

    def _string_size(self, argument: Argument, text: str) -> int:
        if not text:
            return STRING_SIZE
        size = int(text) if text.isdigit() else 0
        if not 1 <= size <= MAX_STRING:
            self._diagnosis.fail(
                argument.start, f"a string's size is a number from 1 to {MAX_STRING}"
            )
        return size

    def _type(self, argument: Argument, about: dict[str, Any]) -> CType:
        kind, size, name = about["kind"], about["size"], about["name"]
        if kind == "array":
            return self._array(argument, about)
        if kind == "record":
            self._diagnosis.fail(
                argument.start,
                f"'{name}' is a whole struct: a column holds one value",
                f"name a member of it; %kp struct '{name}' lists them",
            )
        if kind not in ("int", "bool", "enum", "pointer") or size not in (1, 2, 4, 8):
            self._diagnosis.fail(
                argument.start,
                f"a value of type '{name}' cannot be a column",
                "cast it to an integer type of at most 64 bits",
            )
        enumerators = {int(value): word for value, word in about.get("enumerators", {}).items()}
        return CType(kind, size, about["signed"], name, enumerators=enumerators)

    def _array(self, argument: Argument, about: dict[str, Any]) -> CType:
        size, count, element = about["size"], about["count"], about["element"]
        if not 0 < size <= MAX_STRING:
            self._diagnosis.fail(
                argument.start,
                f"'{about['name']}' is {size} bytes: a column holds 1 to {MAX_STRING}",
                "take single elements of it, or str(…) for a text",
            )
        if about["text"]:
            return CType("string", size, name=about["name"])
        if element["kind"] not in ("int", "bool", "enum", "pointer"):
            self._diagnosis.fail(
                argument.start,
                f"an array of '{element['name']}' cannot be a column",
                "take single elements and their members",
            )
        return CType("array", size, element["signed"], about["name"], count)


def _stack_type(form: Form, depth: int, text: str) -> CType:
    """Return the type of a stack; its name says what depth the user has asked for, if any."""
    words, kind = depth + (form == "user_stack"), _STACK_KINDS[form]
    return CType(kind, 8 * words, False, f"{kind}({text})", words)
