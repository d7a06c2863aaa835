# SPDX-License-Identifier: MIT
"""A corpus of cells, and what becomes of a text when chance has its way with it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parent.parent
WORD = re.compile(r"\w+|\s+|.", re.DOTALL)
ODD = (
    *"\0\t\n\r\x1b\x7f\\'\"`$(){}[]<>;&|!*?~#%@^=+,.:/",
    "é", "\u202e", "\ud800", "\U0001f41b", "\ufeff", "--", "->", "/*", "*/", "//", "...", "\\\n",
    "0x", "1e999", "99999999999999999999", "-1", "emit(", "count()", "str(", "kstack(", "label=",
    "--for", "--while", "--where", "-D", "--follow", "-o", "$x", "{y}", "%%kprobe", "vfs_*",
    "#include", "asm", "return", "sizeof", "struct", "%:define", "??=", "<:", "u8\"", "'", "R\"(",
)  # fmt: skip


def corpus() -> list[tuple[str, str, str | None]]:
    """Return magic, line and body of every cell in the tests."""
    found = []
    for path in sorted((TESTS / "kernel").glob("*.case")):
        text = path.read_text()
        for cell in re.finditer(r"^(?:PROBE|ALSO) +(%%?)(\w+) (.*)\n((?:BODY|  ).*\n(?:  .*\n)*)?",
                                text, re.MULTILINE):  # fmt: skip
            body = (cell[4] or "").removeprefix("BODY").strip() if cell[1] == "%%" else None
            found.append((cell[2], cell[3], body))
    for text in (TESTS / "golden/cells.txt").read_text().split("\n\n"):
        _, magic, *body = text.rstrip("\n").split("\n")
        match = re.fullmatch(r"CELL +(%+)(\w+) (.*)", magic)
        assert match is not None
        found.append((match[2], match[3], "\n".join(body) if match[1] == "%%" else None))
    return found


def spoil(text: str, chance: random.Random, others: list[str]) -> str:
    """Return the text after a few accidents."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        text = chance.choice(ACCIDENTS)(text, chance, others)
    return text[:20_000]


def drop(text: str, chance: random.Random, others: list[str]) -> str:
    words = WORD.findall(text) or [""]
    at = chance.randrange(len(words))
    return "".join(words[:at] + words[at + chance.choice((1, 1, 2, 9)) :])


def double(text: str, chance: random.Random, others: list[str]) -> str:
    words = WORD.findall(text) or [""]
    at = chance.randrange(len(words))
    return "".join(words[:at] + [words[at]] * chance.choice((2, 3, 300)) + words[at + 1 :])


def insert(text: str, chance: random.Random, others: list[str]) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(ODD) * chance.choice((1, 1, 1, 2, 500)) + text[at:]


def cross(text: str, chance: random.Random, others: list[str]) -> str:
    other = chance.choice(others)
    return text[: chance.randrange(len(text) + 1)] + other[chance.randrange(len(other) + 1) :]


def change(text: str, chance: random.Random, others: list[str]) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chr(chance.choice((chance.randrange(128), chance.randrange(0x3000)))) + (
        text[at + 1 :])  # fmt: skip


ACCIDENTS: tuple[Callable[[str, random.Random, list[str]], str], ...] = (
    drop, double, insert, insert, cross, change,
)  # fmt: skip
