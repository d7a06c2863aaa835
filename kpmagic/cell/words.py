# SPDX-License-Identifier: MIT
"""A magic line cut into words as a shell would, each with its column."""

from __future__ import annotations

import io
import shlex
from typing import NamedTuple


class Word(NamedTuple):
    """A word: its ``text`` without quotes, and where it lies in the line, counted from 0."""

    text: str
    start: int
    end: int
    quoted: bool


def split(line: str) -> list[Word]:
    """Return the words of ``line``; ``#`` begins a comment. Raises ValueError (open quote)."""
    text_in = io.StringIO(line)
    lexer = shlex.shlex(text_in, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    words: list[Word] = []
    end = 0
    while True:
        start = end + len(line[end:]) - len(line[end:].lstrip(lexer.whitespace))
        text = lexer.get_token()
        if text is None:
            return words
        # the lexer has eaten the blank behind the word, or the whole comment
        end = _end_of_word(line, start, text_in.tell())
        raw = line[start:end]
        words.append(Word(text, start, end, quoted=any(mark in raw for mark in "'\"\\")))


def _end_of_word(line: str, start: int, eaten: int) -> int:
    """Return where the word at ``start`` ends, given how far the lexer has read."""
    end = start
    quote = ""
    while end < eaten:
        mark = line[end]
        if quote:
            end += 1 if mark == "\\" and quote == '"' else 0
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        elif mark == "\\":
            end += 1
        elif mark.isspace() or mark == "#":
            break
        end += 1
    return min(end, len(line))


def column_of(line: str, word: Word, value: str) -> int:
    """Return the 0-based column where ``value`` is written in ``word``, or of the word itself."""
    at = line.find(value, word.start, word.end) if value else -1
    return at if at >= 0 else word.start
