# SPDX-License-Identifier: MIT
"""Plan → Analysis: what each expression of the body is, asked of clang."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NoReturn, Protocol

from kpmagic.aggregations import Aggregations
from kpmagic.body import Argument, Call, Edit, apply, narrow, place_of, widen
from kpmagic.errors import BuildError, CellError, KpmagicError, Place
from kpmagic.grouping import body_of, groups, placed
from kpmagic.handler import Add, Analysis, Column, Emit, Form, Handler, Piece
from kpmagic.marked import FUNCTION, Marked, Section, mark
from kpmagic.model import CType, LeftOut, Plan, Probe, Site
from kpmagic.names import column_name
from kpmagic.scope import FIXED_COLUMNS, SAME_AS_FIXED, in_scope, parameters

STRING_SIZE = 128
MAX_STRING = 1024
MAX_COLUMNS = 128
STACK_DEPTH = 64
MAX_STACK = 127  # linux/perf_event.h: PERF_MAX_STACK_DEPTH
MAX_KEY = 512  # bytes; linux/filter.h: MAX_BPF_STACK limits the keys of a hash map
_ERROR = 3  # libclang: CXDiagnostic_Error


_STACK_KINDS: dict[str, Literal["kstack", "ustack"]] = {
    "kernel_stack": "kstack",
    "user_stack": "ustack",
}


class Analyser(Protocol):
    """Parses a text and describes one function of it; see `compiler.worker`."""

    def analyse(self, text: str, function: str, defines: list[str]) -> dict[str, Any]:
        """Return diagnostics, edits and calls. Raises BuildError."""


def analyse(plan: Plan, compiler: Analyser) -> Analysis:
    """Return what every handler of ``plan`` is. Raises CellError and BuildError.

    Sites to which the body looks the same are analysed once. Of those that only a wildcard
    brought, the ones the body does not fit are left out, unless it fits none.
    """
    aggregations = Aggregations(plan.probe.cell)
    handlers: list[Handler] = []
    left_out: list[LeftOut] = []
    first: KpmagicError | None = None
    rows = 0
    for numbers in groups(plan):
        site = plan.sites[numbers[0]]
        try:
            handler = _Site(plan, site, numbers, rows, aggregations).handler(compiler)
        except (CellError, BuildError) as error:
            if not all(plan.sites[number].spec.wild for number in numbers):
                raise
            first = first or error
            left_out += [LeftOut(plan.sites[n].symbol, _misfit(error)) for n in numbers]
            continue
        rows += len(handler.emits)
        handlers += placed(plan, handler)
    if first is not None and not handlers:
        raise first
    return Analysis(plan, tuple(handlers), tuple(left_out))


def _misfit(error: KpmagicError) -> str:
    return f"not one that the body fits ({error.message})"


def define_arguments(probe: Probe) -> list[str]:
    """Return clang's arguments for the user's ``-D``."""
    return [f"-D{name}={value}" for name, value in probe.options.defines]


class _Site:
    """One site's body on its way through clang."""

    def __init__(
        self,
        plan: Plan,
        site: Site,
        numbers: tuple[int, ...],
        rows: int,
        aggregations: Aggregations,
    ) -> None:
        self.plan, self.site, self.numbers = plan, site, numbers
        self.rows = rows
        self.aggregations = aggregations
        self.marked: Marked = mark(plan, site, narrow(body_of(plan, site)))
        self.parsed = self.marked.text
        self.edits: list[Edit] = []

    def handler(self, compiler: Analyser) -> Handler:
        """Return the handler. Raises CellError and BuildError."""
        defines = define_arguments(self.plan.probe)
        answer = compiler.analyse(widen(self.parsed), FUNCTION, defines)
        self._check(answer)
        self.edits = [Edit(*edit) for edit in answer["edits"]]
        seen = {found["call"]: found["arguments"] for found in answer["calls"]}
        pieces = self._pieces(self.marked.body, seen)
        where = self.marked.where
        condition = self._code(where.start, where.end) if where else ""
        names = self.marked.body.body.names | (where.body.names if where else frozenset())
        return Handler(self.site, self.numbers, tuple(pieces), condition, names)

    def _pieces(self, section: Section, seen: dict[int, list[dict[str, Any]]]) -> list[Piece]:
        pieces: list[Piece] = []
        at = section.start
        for number, call in enumerate(self.marked.calls):
            start, end = section.forward(call.start), section.forward(call.end)
            if number not in seen:
                self._fail(call.start, f"{call.word}() stands where it is never run")
            pieces += (self._code(at, start), self._call(call, seen[number]))
            at = end
        pieces.append(self._code(at, section.end))
        return pieces

    def _call(self, call: Call, found: list[dict[str, Any]]) -> Piece:
        lines = self.marked.body.body.text.count("\n", call.start, call.end)
        pairs = list(zip(call.arguments, found, strict=True))
        if call.word == "emit":
            emit = Emit(self.rows, tuple(self._columns(call, pairs)), lines)
            self.rows += 1
            return emit
        return self._add(call, pairs, lines)

    def _columns(self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]]) -> list[Column]:
        columns: list[Column] = []
        taken = set(FIXED_COLUMNS)
        fixed = set(SAME_AS_FIXED) & in_scope(self.plan, self.site).keys()
        for number, (argument, found) in enumerate(pairs, 1):
            text = self._text(argument)
            if text in fixed and argument.name in ("", text):
                continue  # the same value is in every row already
            if argument.name and argument.name in taken:
                always = argument.name in FIXED_COLUMNS
                self._fail(
                    argument.whole,
                    f"a column '{argument.name}' is "
                    + ("always there" if always else "named twice"),
                    f"choose another name, such as my_{argument.name}",
                )
            plain = "errno" if found["form"] == "errno" else text
            name = argument.name or column_name(plain, taken, number)
            taken.add(name)
            columns.append(self._column(name, argument, found))
        if len(columns) > MAX_COLUMNS:
            self._fail(call.start, f"{len(columns)} columns: a row has at most {MAX_COLUMNS}")
        return columns

    def _add(self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]], lines: int) -> Add:
        keys = self._keys(call, [pair for pair in pairs if pair[0].name not in ("", "label")])
        values = [(argument, found) for argument, found in pairs if not argument.name]
        numbers = [self._text(argument) for argument, _ in values]
        value = self._column("value", *values[0]) if values else None
        label = next((self._text(a) for a, _ in pairs if a.name == "label"), "")
        text = " ".join(self.marked.body.body.text[call.start : call.end].split())
        try:
            aggregate = self.aggregations.add(
                call.word,
                widen(text),
                widen(label),
                numbers,
                value,
                keys,
                dict(self.plan.probe.options.defines),
            )
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            self._fail(call.start, message, hint)
        return Add(aggregate, tuple(keys), value if call.word != "count" else None, lines)

    def _keys(self, call: Call, pairs: list[tuple[Argument, dict[str, Any]]]) -> list[Column]:
        """Return the columns of a key; a stack of no given depth has what room the others leave."""
        keys = [self._column(argument.name, argument, found) for argument, found in pairs]
        open_ = [found["form"] in _STACK_KINDS and not found["depth"] for _, found in pairs]
        fixed = sum(key.type.size + 7 & ~7 for key, o in zip(keys, open_, strict=True) if not o)
        room = MAX_KEY - 8 - fixed - 8 * sum(open_)
        if room < 8 * sum(open_) or room < 0:
            self._fail(
                call.start,
                f"the keys are longer than {MAX_KEY - 8} bytes",
                "shorten a text or a stack: str(p, 32), kstack(16)",
            )
        depth = min(STACK_DEPTH, room // 8 // sum(open_)) if any(open_) else 0
        return [
            replace(key, type=_stack_type(key.form, depth)) if o else key
            for key, o in zip(keys, open_, strict=True)
        ]

    def _stack(self, name: str, argument: Argument, found: dict[str, Any]) -> Column:
        text = found["depth"]
        depth = int(text) if text.isdigit() else 0 if text else STACK_DEPTH
        if not 1 <= depth <= MAX_STACK:
            self._fail(argument.start, f"a stack's depth is a number from 1 to {MAX_STACK}")
        return Column(name, _stack_type(found["form"], depth), found["form"], "")

    def _column(self, name: str, argument: Argument, found: dict[str, Any]) -> Column:
        about, form = found["type"], found["form"]
        if form in _STACK_KINDS:
            return self._stack(name, argument, found)
        start, end = found.get("inner") or (found["start"], found["end"])
        code = self._code(start, end)
        if form in ("kernel_string", "user_string"):
            size = self._string_size(argument, found.get("string_size", ""))
            return Column(name, CType("string", size, name=about["name"]), form, code)
        if form == "errno":
            return Column(name, CType("errno", 8, True, about["name"]), "value", code)
        ctype = self._type(argument, about)
        if ctype.kind == "string" and self._text(argument) not in in_scope(self.plan, self.site):
            # As a string, with room for the NUL: what is behind one must not tell keys apart.
            return Column(name, replace(ctype, size=ctype.size + 1), "kernel_string", code)
        return Column(name, ctype, form if about["kind"] == "array" else "value", code)

    def _string_size(self, argument: Argument, text: str) -> int:
        if not text:
            return STRING_SIZE
        size = int(text) if text.isdigit() else 0
        if not 1 <= size <= MAX_STRING:
            self._fail(argument.start, f"a string's size is a number from 1 to {MAX_STRING}")
        return size

    def _type(self, argument: Argument, about: dict[str, Any]) -> CType:
        kind, size, name = about["kind"], about["size"], about["name"]
        if kind == "array":
            return self._array(argument, about)
        if kind == "record":
            self._fail(
                argument.start,
                f"'{name}' is a whole struct: a column holds one value",
                f"name a member of it; %kp struct '{name}' lists them",
            )
        if kind not in ("int", "bool", "enum", "pointer") or size not in (1, 2, 4, 8):
            self._fail(
                argument.start,
                f"a value of type '{name}' cannot be a column",
                "cast it to an integer type of at most 64 bits",
            )
        enumerators = {int(value): word for value, word in about.get("enumerators", {}).items()}
        return CType(kind, size, about["signed"], name, enumerators=enumerators)

    def _array(self, argument: Argument, about: dict[str, Any]) -> CType:
        size, count, element = about["size"], about["count"], about["element"]
        if not 0 < size <= MAX_STRING:
            self._fail(
                argument.start,
                f"'{about['name']}' is {size} bytes: a column holds 1 to {MAX_STRING}",
                "take single elements of it, or str(…) for a text",
            )
        if about["text"]:
            return CType("string", size, name=about["name"])
        if element["kind"] not in ("int", "bool", "enum", "pointer"):
            self._fail(
                argument.start,
                f"an array of '{element['name']}' cannot be a column",
                "take single elements and their members",
            )
        return CType("array", size, element["signed"], about["name"], count)

    def _text(self, argument: Argument) -> str:
        return self.marked.body.body.text[argument.start : argument.end]

    def _code(self, start: int, end: int) -> str:
        """Return a stretch of the parsed text with its loads made safe."""
        inside = [
            Edit(edit.start - start, edit.end - start, edit.text)
            for edit in self.edits
            if start <= edit.start and edit.end <= end
        ]
        return apply(self.parsed[start:end], inside)

    def _check(self, answer: dict[str, Any]) -> None:
        """Raise what clang, or the walk over its tree, found wrong."""
        if "refused" in answer:
            offset, message, hint = answer["refused"]
            raise CellError(message, hint=hint, place=self._place(offset))
        wrong = [d for d in answer["diagnostics"] if d["severity"] >= _ERROR]
        if wrong:
            raise self._diagnosis(wrong)

    def _diagnosis(self, wrong: Sequence[dict[str, Any]]) -> KpmagicError:
        first = wrong[0]
        message = first["message"].removesuffix(" [-Wimplicit-function-declaration]")
        more = f"; {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return BuildError(
            message + more, hint=self._hint(first["message"]), place=self._place(first["offset"])
        )

    def _hint(self, message: str) -> str:
        if "undeclared function" in message or "implicit declaration" in message:
            return (
                "a handler cannot call kernel functions; it reads memory and calls kpmagic's words"
            )
        if "undeclared identifier" in message:
            names = [p.name for p in parameters(self.plan, self.site)]
            known = f"in scope here: {', '.join((*names, *in_scope(self.plan, self.site)))}"
            if not names and self.site.function is not None and self.site.offset:
                known += "\na function's parameters are known at its entry only; here use regs"
            return known
        if "no member named" in message:
            return "%kp struct TYPE lists a struct's members"
        return ""

    def _place(self, offset: int) -> Place | None:
        options, probe = self.plan.probe.options, self.plan.probe
        section, where = self.marked.body, self.marked.where
        if where is not None and where.start <= offset <= where.end:
            column = probe.where_at + where.back(offset) if probe.where_at else 0
            return Place(1, column, probe.line if probe.where_at else options.where, probe.cell)
        if section.start <= offset <= section.end + 1:
            return place_of(
                section.body.text,
                section.back(min(offset, section.end)),
                probe.body_line,
                probe.cell,
            )
        return None

    def _fail(self, offset: int, message: str, hint: str = "") -> NoReturn:
        """Raise a CellError at an offset of the user's text."""
        probe = self.plan.probe
        place = place_of(self.marked.body.body.text, offset, probe.body_line, probe.cell)
        raise CellError(message, hint=hint, place=place)


def _stack_type(form: Form, depth: int) -> CType:
    words = depth + (form == "user_stack")
    return CType(_STACK_KINDS[form], 8 * words, False, "unsigned long", words)
