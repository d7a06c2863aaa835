# SPDX-License-Identifier: MIT
"""Read ``*.case`` files: paragraphs that say what a probe must show (see CONTRIBUTING.md)."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from requirement import Requirement

ONCE = ("NAME", "PROBE", "BODY", "ERROR", "ONLY", "BACKEND")
OFTEN = ("EXPECT", "REQUIRES", "SETUP", "CLEANUP", "WITH", "ALSO", "ASK", "DURING")
WORDS = (*ONCE, *OFTEN)
WAYS = ("function", "magic")
BACKENDS = ("bpf", "kmod", "bcc")
MAGIC = re.compile(r"(%%|%)(kprobe|kretprobe|kmodule)\s+(.*)")
# FT-13: torvalds/linux tools/testing/selftests/ftrace/test.d/kprobe/kprobe_ftrace.tc
ORIGIN = re.compile(r"# ([A-Z]{2}-\d\d): (.+)")


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook; ``line`` is the magic line without the magic."""

    magic: str
    line: str
    body: str | None = None

    @property
    def text(self) -> str:
        """The cell as a user types it."""
        first = f"{self.magic} {self.line}"
        return first if self.body is None else f"{first}\n{self.body}"

    def on(self, backend: str) -> Cell:
        """Return the cell with another backend, unless it has chosen one."""
        if "--backend" in self.line:
            return self
        return Cell(self.magic, f"{self.line} --backend {backend}", self.body)


@dataclass(frozen=True)
class Case:
    """One paragraph; ``at`` is its place in the file, ``origins`` the upstream cases it restates.

    Each origin is an id and the upstream file.
    """

    name: str
    at: str
    cell: Cell | None = None
    also: tuple[Cell, ...] = ()
    asks: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    cleanup: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    during: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    error: tuple[str, str] | None = None
    requires: tuple[Requirement, ...] = ()
    ways: tuple[str, ...] = WAYS
    backends: tuple[str, ...] = BACKENDS
    origins: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """The case's name behind that of its file."""
        return f"{self.at.partition('.')[0]}: {self.name}"


@dataclass
class Paragraph:
    """The lines of one case, word by word."""

    at: str
    said: dict[str, list[str]] = field(default_factory=dict)
    origins: list[tuple[str, str]] = field(default_factory=list)

    def one(self, word: str) -> str:
        """Return what a word that stands once says; ``""`` where it does not stand."""
        return self.said.get(word, [""])[0]

    def all(self, word: str) -> tuple[str, ...]:
        """Return what each line with a word says."""
        return tuple(self.said.get(word, ()))


def read(path: Path) -> list[Case]:
    """Return the cases of a file. Raises ValueError with file and line."""
    return [_case(paragraph) for paragraph in _paragraphs(path)]


def _paragraphs(path: Path) -> list[Paragraph]:
    found: list[Paragraph] = []
    origins: list[tuple[str, str]] = []
    current: Paragraph | None = None
    word = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#"):
            origin = ORIGIN.fullmatch(line)
            if origin:
                origins.append((origin[1], origin[2]))
            continue
        if not line.strip():
            current = None
            continue
        if current is None:
            current, word = Paragraph(f"{path.name}:{number}", origins=origins), ""
            origins = []
            found.append(current)
        word = _add(current, word, line, f"{path.name}:{number}")
    return found


def _add(paragraph: Paragraph, word: str, line: str, at: str) -> str:
    """Add a line to a paragraph; return the word it belongs to."""
    if line[0].isspace():
        if not word:
            raise ValueError(f"{at}: an indented line goes on with the word above it")
        paragraph.said[word][-1] += "\n" + line.strip()
        return word
    word, _, text = line.partition(" ")
    if word not in WORDS:
        raise ValueError(f"{at}: {word!r} is none of {', '.join(WORDS)}")
    if word in ONCE and word in paragraph.said:
        raise ValueError(f"{at}: {word} stands twice")
    paragraph.said.setdefault(word, []).append(text.strip())
    return word


def _case(paragraph: Paragraph) -> Case:
    said, at = paragraph.all, paragraph.at
    if not paragraph.one("NAME") or not (said("PROBE") or said("ASK")):
        raise ValueError(f"{at}: a case has a NAME, and a PROBE or an ASK")
    if not said("EXPECT") and not said("ERROR"):
        raise ValueError(f"{at}: a case has EXPECT or ERROR")
    name, _, message = paragraph.one("ERROR").partition(" ")
    cell = _cell(paragraph.one("PROBE"), paragraph.one("BODY"), at) if said("PROBE") else None
    return Case(
        name=paragraph.one("NAME"),
        at=at,
        cell=cell,
        also=tuple(_cell(*_halves(text), at) for text in said("ALSO")),
        asks=said("ASK"),
        setup=said("SETUP"),
        cleanup=said("CLEANUP"),
        names=tuple(_named(text, at) for text in said("WITH")),
        during=said("DURING"),
        expect=said("EXPECT"),
        error=(name, message.strip()) if name else None,
        requires=tuple(Requirement.parse(text, at) for text in said("REQUIRES")),
        ways=_choice(paragraph, "ONLY", WAYS),
        backends=_backends(paragraph, cell),
        origins=tuple(paragraph.origins),
    )


def _halves(text: str) -> tuple[str, str]:
    line, _, body = text.partition("\n")
    return line, body


def _cell(line: str, body: str, at: str) -> Cell:
    match = MAGIC.fullmatch(line)
    if match is None:
        raise ValueError(f"{at}: PROBE and ALSO hold a magic line")
    if (match[1] == "%%") != bool(body):
        raise ValueError(f"{at}: %% has a BODY and % has none")
    return Cell(match[1] + match[2], match[3], body or None)


def _named(text: str, at: str) -> tuple[str, str]:
    name, equals, expression = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise ValueError(f"{at}: WITH is written name = expression")
    return name.strip(), expression.strip()


def _choice(paragraph: Paragraph, word: str, known: tuple[str, ...]) -> tuple[str, ...]:
    only = paragraph.one(word)
    if only and only not in known:
        raise ValueError(f"{paragraph.at}: {word} is one of {', '.join(known)}")
    return (only,) if only else known


def _backends(paragraph: Paragraph, cell: Cell | None) -> tuple[str, ...]:
    """What must fail fails before a backend is asked, or by its own rules."""
    chosen = _choice(paragraph, "BACKEND", BACKENDS)
    neither = cell is None or cell.magic == "%%kmodule" or "ERROR" in paragraph.said
    return chosen[:1] if neither else chosen


def words(line: str) -> list[str]:
    """Return a magic line's words as a shell would cut them."""
    return shlex.split(line, comments=True)
