# SPDX-License-Identifier: MIT
"""Magic line and body → Probe. Knows lines and columns, not IPython."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, get_args

from ..errors import CellError, Place
from ..model import Kind, Options, Probe, Spec
from . import expansion, words
from .defines import checked_name, literal, parse_define
from .options import BY_FLAG, BY_KEYWORD, CONTRADICTIONS, NEEDS, OPTIONS, Option, is_of
from .text import narrow
from .words import Word

SPEC = re.compile(
    r"(?:(?P<module>[A-Za-z0-9_-]+):)?(?P<symbol>[A-Za-z_.*?\[][A-Za-z0-9_.$*?\[\]!-]*)"
    r"(?:\+(?P<offset>0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,17}))?"
)
ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
FIELDS_AND_BODY = "--fields chooses the columns of a probe without a body"
FIELDS_HINT = "with a body, emit(…) names them: emit(args->flags, *args)"
KERNEL = "vmlinux"  # what other tools call the kernel proper where a module may stand
SPEC_HINT = "a place is a symbol, symbol+offset, module:symbol or 0xaddress; * and ? match several"


def parse_spec(text: str) -> Spec:
    """Return the place that ``text`` names. Raises CellError."""
    if ADDRESS.fullmatch(text) and int(text, 16):
        return Spec(text, address=int(text, 16))
    match = SPEC.fullmatch(text)
    if match is None:
        raise CellError(f"{text!r} does not name a place in the kernel", hint=SPEC_HINT)
    # kbuild names a module's symbols with underscores, whatever its file is called
    module = (match["module"] or "").replace("-", "_")
    module = "" if module == KERNEL else module
    return Spec(text, match["symbol"], int(match["offset"] or "0", 0), module)


def parse_probe(
    kind: Kind,
    line: str,
    body: str | None,
    *,
    cell: str = "cell",
    names: Mapping[str, object] | None = None,
) -> Probe:
    """Return what the magic line ``line`` and ``body`` ask for; ``body`` None is the line form.

    ``names`` are the Python variables that ``-D NAME=$name`` may use. Raises CellError.
    """
    return Line(kind, line, body, cell, names or {}).probe(kind)


def probe_from_keywords(
    kind: Kind, symbols: str | Iterable[str], body: str | None, keywords: Mapping[str, Any]
) -> Probe:
    """Return the Probe of ``kpmagic.probe(symbols, body, **keywords)``. Raises CellError."""
    texts = _texts(symbols)
    if not isinstance(body, str | None):
        raise CellError(f"a body is text of C, not {body!r}")
    options = options_from_keywords(kind, keywords)
    if options.fields and body is not None:
        raise CellError(FIELDS_AND_BODY, hint=FIELDS_HINT)
    specs = _specs(kind, texts)
    return Probe(kind, specs, body, options, cell="body", body_line=1)


def _texts(symbols: Any) -> list[str]:
    """Return the places given to a function: one, or several. Raises CellError."""
    one = isinstance(symbols, str) or not isinstance(symbols, Iterable)
    texts = [symbols] if one else list(symbols)
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise CellError(f"{wrong[0]!r} does not name a place in the kernel", hint=SPEC_HINT)
    return texts


def options_from_keywords(kind: str, keywords: Mapping[str, Any]) -> Options:
    """Return the options given to a function as ``keywords``. Raises CellError."""
    values: dict[str, Any] = {}
    for key, value in keywords.items():
        if key not in BY_KEYWORD or not is_of(BY_KEYWORD[key], kind):
            _refuse_keyword(key, kind)
        parsed = None if value is None else _python_value(BY_KEYWORD[key], value)
        if parsed is not None and parsed is not False:
            values[BY_KEYWORD[key].field] = parsed
    reason = _contradiction(values, {option.field: option.keyword for option in OPTIONS})
    if reason:
        raise CellError(reason[0], hint=reason[1])
    return _options(kind, values)


def _options(kind: str, values: Mapping[str, Any]) -> Options:
    """Return the options; what is to be there so long, and a module, has no other limit of time."""
    lasts = kind == "kmodule" or "duration" in values
    return Options(**{**({"max_time": 0} if lasts else {}), **values})


def _python_value(option: Option, value: object) -> object:
    try:
        if option.field == "defines":
            return _defines(value)
        return bool(value) if option.parse is None else option.parse(value)
    except ValueError as error:
        raise CellError(f"{option.keyword} = {value!r}: {error}") from None


def _defines(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise ValueError("a dict of names and their values (int or str) is needed")
    return tuple((checked_name(str(name)), literal(item)) for name, item in value.items())


def _refuse_keyword(keyword: str, kind: str) -> NoReturn:
    known = [word for word, option in BY_KEYWORD.items() if is_of(option, kind)]
    raise CellError(f"no option {keyword!r}", hint=suggestion(keyword, known) or ", ".join(known))


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean …?`` for the nearest of ``known``, or ``""``."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else ""


def _specs(kind: Kind, texts: Iterable[str]) -> tuple[Spec, ...]:
    specs = tuple(parse_spec(text) for text in texts)
    if not specs:
        raise CellError("no function is named", hint=SPEC_HINT)
    seen: set[str] = set()
    for spec in specs:
        if kind == "kretprobe" and spec.offset:
            raise CellError(
                f"{spec.text!r}: a function returns as a whole, not at an offset",
                hint="name the function alone, or use %%kprobe",
            )
        if spec.text in seen:
            raise CellError(f"{spec.text!r} is named twice")
        seen.add(spec.text)
    return specs


def _contradiction(
    fields: Iterable[str], shown: Mapping[str, str]
) -> tuple[str, str, str] | None:
    """Return message, hint and field of the first contradiction among the given options.

    ``shown`` is what each is called where it was given.
    """
    given = set(fields)
    for one, other, why in CONTRADICTIONS:
        if one in given and other in given:
            message = f"{shown[one]} and {shown[other]} contradict each other: {why}"
            hint = f"leave out {shown[one]} or {shown[other]}"
            return message.format_map(shown), hint, other
    for one, other, hint in NEEDS:
        if one in given and other not in given:
            return f"{shown[one]} needs {shown[other]}", hint.format_map(shown), one
    return None


class Line:
    """One magic line taken apart: what it names, and its options as `values`."""

    def __init__(
        self, kind: str, line: str, body: str | None, cell: str, names: Mapping[str, object]
    ) -> None:
        self.kind, self.line, self.body, self.cell, self.names = kind, line, body, cell, names
        self.prefix = f"%{kind} " if body is None else f"%%{kind} "
        self.values: dict[str, Any] = {}
        self.found: dict[str, Word] = {}
        self.where_at = 0
        self.last = Word("", 0, 0, False)

    def probe(self, kind: Kind) -> Probe:
        """Return the Probe that the line asks for. Raises CellError."""
        named = self.words()
        return Probe(kind, self.specs(kind, named), self.body, self.options(), self.cell,
                     line=self.prefix + self.line, where_at=self.where_at)  # fmt: skip

    def options(self) -> Options:
        """Return the options on the line, when `words` has found them."""
        return _options(self.kind, self.values)

    def words(self) -> list[Word]:
        """Take the line apart; return the words that are no options. Raises CellError."""
        try:
            self.rest = words.split(self.line)
        except ValueError as error:
            self.fail(f"{str(error).lower()} on this line", len(self.line.rstrip()) - 1)
        named = []
        while self.rest:
            word = self.rest.pop(0)
            if word.text.startswith("-") and len(word.text) > 1:
                self.option(word)
            else:
                named.append(word)
        self.check()
        return named

    def fail(self, message: str, at: int, hint: str = "") -> NoReturn:
        """Raise a CellError at the 0-based column ``at`` of the line."""
        place = Place(1, len(self.prefix) + max(at, 0) + 1, self.prefix + self.line, self.cell)
        raise CellError(message, hint=hint, place=place)

    def option(self, word: Word) -> None:
        flag, _, inline = word.text.partition("=") if word.text.startswith("--") else (
            word.text[:2], "", word.text[2:])  # fmt: skip
        option = BY_FLAG.get(flag)
        all_of_them = f"%%{self.kind}? lists its options"
        if option is None:
            known = [each for each, of in BY_FLAG.items() if is_of(of, self.kind)]
            self.fail(f"no option {word.text!r}", word.start,
                      suggestion(flag, known) or all_of_them)  # fmt: skip
        if inline and option.parse is None:
            self.fail(f"{flag} takes no value", word.start, f"{flag} alone switches it on")
        if not is_of(option, self.kind):
            self.fail(f"%%{self.kind} has no option {flag}", word.start, all_of_them)
        if option.field in self.found and option.field != "defines":
            self.fail(f"{flag} is given twice", word.start, "leave one of them out")
        self.found[option.field] = word
        if option.parse is None:
            self.values[option.field] = True
        else:
            self.value(option, flag, self.word_of(option, flag, word, inline), inline)

    def word_of(self, option: Option, flag: str, word: Word, inline: str) -> Word:
        """Return the word that holds the option's value."""
        if inline or word.text.endswith("="):
            return word
        following = self.rest[0] if self.rest else None
        if following is None or (following.text in BY_FLAG and not following.quoted):
            self.fail(f"{flag} needs a value: {option.spelling}", word.start)
        return self.rest.pop(0)

    def value(self, option: Option, flag: str, word: Word, inline: str) -> None:
        text = inline if word is self.found[option.field] else word.text
        at = words.column_of(self.line, word, text)
        assert option.parse is not None
        try:
            if option.field == "defines":
                self.define(text, at)
            else:
                self.values[option.field] = option.parse(text)
        except ValueError as error:
            self.fail(f"{flag} {text}: {error}", at)
        except NameError as error:
            hint = f"give it a value first, in a cell of its own: {error.name} = 4096"
            self.fail(f"{flag} {text}: {error}", at, hint)
        if option.field == "where":
            self.where_at = len(self.prefix) + at + 1

    def define(self, text: str, at: int) -> None:
        name, value = parse_define(text, self.names)
        defines = self.values.get("defines", ())
        if name in dict(defines):
            raise ValueError(f"{name!r} is defined twice")
        if self.kind in get_args(Kind):  # scripts have a preprocessor
            try:
                expansion.checked(name, narrow(value))
            except CellError as error:
                self.fail(error.message, at, error.hint)
        self.values["defines"] = (*defines, (name, value))

    def check(self) -> None:
        flags = {option.field: option.flag or option.short for option in OPTIONS}
        reason = _contradiction(self.found, flags)
        if reason:
            message, hint, field = reason
            self.fail(message, self.found[field].start, hint)
        if "fields" in self.found and self.body is not None:
            self.fail(FIELDS_AND_BODY, self.found["fields"].start, FIELDS_HINT)

    def specs(self, kind: Kind, named: list[Word]) -> tuple[Spec, ...]:
        try:
            return _specs(kind, [word.text for word in named])
        except CellError as error:
            wrong = [word for word in named if repr(word.text) in error.message]
            at = wrong[-1].start if wrong else len(self.line.rstrip())
            if wrong and not wrong[-1].text.replace("_", "").isalnum() and len(named) > 1:
                hint = f"{error.hint}\nput quotes around an option's value that holds blanks"
            else:
                hint = error.hint
            self.fail(error.message, at, hint)
