# SPDX-License-Identifier: MIT
"""Read ``*.case`` files: paragraphs that say what a probe must show (see CONTRIBUTING.md)."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

WORDS = ("NAME", "PROBE", "BODY", "EXPECT", "ERROR", "REQUIRES", "ONLY", "BACKEND")
ONCE = ("NAME", "PROBE", "BODY", "ERROR", "REQUIRES", "ONLY", "BACKEND")
WAYS = ("function", "magic")
BACKENDS = ("bpf", "kmod")
MAGIC = re.compile(r"(%%|%)(kprobe|kretprobe)\s+(.*)")
REQUIREMENT = re.compile(r"kernel\s*(>=|<|==)\s*(\d+)\.(\d+)")


@dataclass(frozen=True)
class Case:
    """One paragraph; ``line`` is the magic line without the magic, ``at`` its place in the file."""

    name: str
    magic: str
    line: str
    at: str
    body: str | None = None
    expect: tuple[str, ...] = ()
    error: tuple[str, str] | None = None
    requires: str = ""
    ways: tuple[str, ...] = WAYS
    backends: tuple[str, ...] = BACKENDS

    @property
    def cell(self) -> str:
        """The cell as a user types it."""
        first = f"{self.magic} {self.line}"
        return first if self.body is None else f"{first}\n{self.body}"

    def fits(self, release: str) -> bool:
        """Whether a kernel of this ``release`` is one the case is for."""
        if not self.requires:
            return True
        match = REQUIREMENT.fullmatch(self.requires)
        if match is None:
            raise ValueError(f"{self.at}: REQUIRES is 'kernel >= 6.12' and the like")
        has = tuple(int(number) for number in release.split("-")[0].split(".")[:2])
        needs = (int(match[2]), int(match[3]))
        return {">=": has >= needs, "<": has < needs, "==": has == needs}[match[1]]


@dataclass
class Paragraph:
    """The lines of one case, word by word."""

    at: str
    said: dict[str, list[str]] = field(default_factory=dict)

    def one(self, word: str) -> str:
        """Return what a word that stands once says; ``""`` where it does not stand."""
        return self.said.get(word, [""])[0]


def read(path: Path) -> list[Case]:
    """Return the cases of a file. Raises ValueError with file and line."""
    return [_case(paragraph) for paragraph in _paragraphs(path)]


def _paragraphs(path: Path) -> list[Paragraph]:
    found: list[Paragraph] = []
    current: Paragraph | None = None
    word = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            current = None
            continue
        if current is None:
            current, word = Paragraph(f"{path.name}:{number}"), ""
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
    match = MAGIC.fullmatch(paragraph.one("PROBE"))
    if match is None or not paragraph.one("NAME"):
        raise ValueError(f"{paragraph.at}: a case has a NAME, and a PROBE that is a magic line")
    body = paragraph.one("BODY") or None
    if (match[1] == "%%") != (body is not None):
        raise ValueError(f"{paragraph.at}: %% has a BODY and % has none")
    if ("EXPECT" in paragraph.said) == ("ERROR" in paragraph.said):
        raise ValueError(f"{paragraph.at}: a case has either EXPECT or ERROR")
    name, _, message = paragraph.one("ERROR").partition(" ")
    return Case(
        name=paragraph.one("NAME"),
        magic=match[1] + match[2],
        line=match[3],
        at=paragraph.at,
        body=body,
        expect=tuple(paragraph.said.get("EXPECT", ())),
        error=(name, message.strip()) if name else None,
        requires=paragraph.one("REQUIRES"),
        ways=_ways(paragraph),
        backends=_backends(paragraph),
    )


def _ways(paragraph: Paragraph) -> tuple[str, ...]:
    only = paragraph.one("ONLY")
    if only and only not in WAYS:
        raise ValueError(f"{paragraph.at}: ONLY is one of {', '.join(WAYS)}")
    return (only,) if only else WAYS


def _backends(paragraph: Paragraph) -> tuple[str, ...]:
    """What must fail fails before a backend is asked, or by its own rules."""
    only = paragraph.one("BACKEND")
    if only and only not in BACKENDS:
        raise ValueError(f"{paragraph.at}: BACKEND is one of {', '.join(BACKENDS)}")
    if only:
        return (only,)
    return BACKENDS[:1] if "ERROR" in paragraph.said else BACKENDS


def words(line: str) -> list[str]:
    """Return a magic line's words as a shell would cut them."""
    return shlex.split(line, comments=True)
