# SPDX-License-Identifier: MIT
"""The words of a handler's body: finds the calls that are kpmagic's own, and refuses what is not C.

Everything here works on text in which one character is one byte (`narrow`), so that offsets are
the compiler's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from kpmagic.cell.text import place_of
from kpmagic.errors import CellError, Place

AGGREGATIONS = ("count", "sum", "avg", "min", "max", "hist", "lhist")
SKIP, REPLACE = INJECTIONS = ("skip_function", "set_retval")
STATEMENTS = ("emit", *AGGREGATIONS, *INJECTIONS)
NO_VALUE = (
    "emit() and aggregations are statements; the smaller of two numbers is a < b ? a : b"
)
STRINGS = ("str", "user_str")
STACKS = ("kstack", "ustack")
ERRNO = "errno_name"
VALUES = (*STRINGS, *STACKS, ERRNO)

TOKEN = re.compile(
    r"""(?P<space>[ \t\r\f\v]+|\\[ \t\r\f\v]*\n)
      | (?P<newline>\n)
      | (?P<comment>//(?:\\[ \t\r\f\v]*\n|[^\n])*|/\*.*?\*/)
      | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
      | (?P<number>\.?[0-9](?:[eEpP][+-]|[A-Za-z0-9_.])*)
      | (?P<string>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*")
      | (?P<char>[uUL]?'(?:\\.|[^'\\\n])*')
      | (?P<punct>->|\+\+|--|<<=?|>>=?|[-+*/%&|^!<>=]=|&&|\|\||%:|<:|:>|<%|%>|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OWN = ("kp_", "KP_", "__kp")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_FORBIDDEN = {
    "asm": "inline assembly",
    "__asm": "inline assembly",
    "__asm__": "inline assembly",
    "_Pragma": "a preprocessor word",
    "__pragma": "a preprocessor word",
}

Fail = Callable[[int, str, str], NoReturn]
"""Called with an offset, a message and a hint; raises CellError at that place."""


@dataclass(frozen=True)
class Token:
    """A piece of C: ``kind`` is name, number, string, char or punct."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Argument:
    """An argument of a call: the expression's extent, and its keyword when it has one.

    ``whole`` is where the keyword, or else the expression, begins.
    """

    start: int
    end: int
    whole: int
    name: str = ""


@dataclass(frozen=True)
class Call:
    """A call of one of kpmagic's words; ``end`` is behind its closing parenthesis."""

    word: str
    start: int
    open: int
    end: int
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Body:
    """A body's text and tokens, and its calls in order."""

    text: str
    calls: tuple[Call, ...]
    tokens: tuple[Token, ...]

    @property
    def words(self) -> list[Token]:
        """Every name but those of the calls: count() does not use the parameter count."""
        calls = {call.start for call in self.calls}
        return [each for each in self.tokens if each.kind == "name" and each.start not in calls]

    @property
    def names(self) -> frozenset[str]:
        """The texts of `words`."""
        return frozenset(word.text for word in self.words)


def scan(text: str, first_line: int, cell: str, first_column: int = 0) -> Body:
    """Find kpmagic's calls in a narrow ``text``. Raises CellError for what no handler may hold."""

    def fail(offset: int, message: str, hint: str = "") -> NoReturn:
        place = place_of(text, offset, first_line, cell)
        if first_column:
            place = Place(place.line, place.column + first_column - 1, "", cell)
        raise CellError(message, hint=hint, place=place)

    tokens = _tokens(text, fail)
    partner = _brackets(tokens, fail)
    calls = tuple(
        _call(tokens, index, partner[index + 1], fail)
        for index, token in enumerate(tokens)
        if token.text in (*STATEMENTS, *VALUES) and _is_call(tokens, index)
    )
    _check_nesting(calls, fail)
    return Body(text, calls, tuple(tokens))


def scan_expression(text: str, cell: str, column: int) -> Body:
    """Scan the expression of ``--where``, which stands at ``column`` of the magic line."""
    body = scan(text, 1, cell, max(column, 1))
    bare = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', "", text)
    if any(character in bare for character in ";{}"):
        raise CellError(
            "--where takes one C expression, not statements", place=Place(1, column, "", cell)
        )
    if any(call.word in STATEMENTS for call in body.calls):
        raise CellError(
            f"--where cannot {body.calls[0].word}(): it only decides",
            hint="put the call into the body",
            place=Place(1, column, "", cell),
        )
    return body


def _tokens(text: str, fail: Fail) -> list[Token]:
    if "\0" in text:
        fail(text.index("\0"), "a NUL character in the cell", "")
    found: list[Token] = []
    line_is_empty = True
    for match in TOKEN.finditer(text):
        kind, piece, at = match.lastgroup or "", match.group(), match.start()
        if kind in ("space", "comment", "newline"):
            behind = text[match.end() : match.end() + 1]
            if piece[0] == "\\" and text[at - 1 : at].strip() and behind.strip():
                fail(at, "a line that goes on within a word or a sign", "put a blank before the \\")
            line_is_empty = kind == "newline" or line_is_empty
            continue
        token = Token(kind, piece, at, match.end())
        if kind == "punct" and piece in ("#", "%:") and line_is_empty:
            fail(
                at,
                "a handler has no preprocessor lines",
                "define names with -D NAME=VALUE; kernel types are there without #include",
            )
        wrong = _wrong(token, text, found[-1].text if found else "")
        if wrong:
            fail(at, wrong, "")
        line_is_empty = False
        found.append(token)
    return found


def _wrong(token: Token, text: str, before: str) -> str:
    """Return what is wrong with a token behind another one, or ``""``."""
    piece = token.text
    if piece in ('"', "'"):
        return f"this {piece} is never closed"
    if piece == "/" and text.startswith("/*", token.start):
        return "this comment is never closed"
    if piece == "\\":
        return "this \\ is no C"
    if piece in _FORBIDDEN:
        return f"a handler may not hold {_FORBIDDEN[piece]} ('{piece}')"
    if token.kind == "name" and piece.startswith(_OWN) and before not in (".", "->"):
        return f"{piece!r}: names that begin so are those of kpmagic's own C"
    return ""


def _brackets(tokens: list[Token], fail: Fail) -> dict[int, int]:
    """Return index of the opening → index of the closing bracket."""
    partner: dict[int, int] = {}
    open_: list[int] = []
    for index, token in enumerate(tokens):
        if token.text in _CLOSING and token.kind == "punct":
            open_.append(index)
        elif token.kind == "punct" and token.text in _CLOSING.values():
            if not open_ or _CLOSING[tokens[open_[-1]].text] != token.text:
                fail(token.start, f"this '{token.text}' closes nothing", "")
            partner[open_.pop()] = index
    if open_:
        fail(tokens[open_[-1]].start, f"this '{tokens[open_[-1]].text}' is never closed", "")
    return partner


def _check_nesting(calls: Iterable[Call], fail: Fail) -> None:
    """Refuse a statement of kpmagic's inside another call of its words."""
    outer: Call | None = None
    for call in calls:
        if outer is not None and call.start < outer.end:
            if call.word in STATEMENTS:
                fail(call.start, f"{call.word}() cannot stand inside {outer.word}()", NO_VALUE)
        else:
            outer = call


def _is_call(tokens: list[Token], index: int) -> bool:
    """Whether a name is called, and is not a member or a declaration of the user's own."""
    if index + 1 == len(tokens) or tokens[index + 1].text != "(":
        return False
    return index == 0 or tokens[index - 1].text not in (".", "->")


def _call(tokens: list[Token], index: int, closing: int, fail: Fail) -> Call:
    word, opening = tokens[index], tokens[index + 1]
    inside = tokens[index + 2 : closing]
    groups = _split(inside, fail) if inside else []
    arguments = tuple(_argument(group, word.text, fail) for group in groups)
    return Call(word.text, word.start, opening.start, tokens[closing].end, arguments)


def _split(inside: list[Token], fail: Fail) -> list[list[Token]]:
    groups: list[list[Token]] = [[]]
    depth = 0
    for token in inside:
        if token.kind == "punct":
            depth += (token.text in _CLOSING) - (token.text in _CLOSING.values())
        if token.kind == "punct" and token.text == "," and depth == 0:
            if not groups[-1]:
                fail(token.start, "an argument is missing before this ','", "")
            groups.append([])
        else:
            groups[-1].append(token)
    if not groups[-1]:
        fail(inside[-1].start, "an argument is missing after this ','", "")
    return groups


def _argument(group: list[Token], word: str, fail: Fail) -> Argument:
    first, last = group[0], group[-1]
    named = len(group) > 1 and first.kind == "name" and group[1].text == "="
    if named and word in VALUES:
        fail(first.start, f"{word}() takes no keywords", "")
    if named and len(group) == 2:
        fail(group[1].start, f"nothing follows '{first.text} ='", "")
    begin = group[2].start if named else first.start
    return Argument(begin, last.end, first.start, first.text if named else "")


def last_names(text: str) -> list[str]:
    """Return an expression's last identifier, then its owners outwards.

    ``path->dentry->d_name.name`` gives ``["name", "d_name", "dentry", "path"]``.
    """
    tokens = [token for token in map(_as_token, TOKEN.finditer(text)) if token is not None]
    names = [
        i
        for i, token in enumerate(tokens)
        if token.kind == "name" and token.text not in (*STRINGS, "sizeof")
    ]
    if not names:
        return []
    at = names[-1]
    chain = [tokens[at].text]
    while at >= 2 and tokens[at - 1].text in (".", "->") and tokens[at - 2].kind == "name":
        at -= 2
        chain.append(tokens[at].text)
    return chain


def _as_token(match: re.Match[str]) -> Token | None:
    kind = match.lastgroup or ""
    if kind in ("space", "newline", "comment"):
        return None
    return Token(kind, match.group(), match.start(), match.end())
