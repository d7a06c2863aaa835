# SPDX-License-Identifier: MIT
"""The lessons as tests see them: notebook, recording, and what it must show (lessons/NN.toml).

``[shows]`` is cell id → a regular expression for what the cell shows, live and from the recording.
Each ``[[answer]]`` has right and wrong answers to an exercise: a cell that binds ``mine``
(``%%kprobe … -o mine``), or an expression. ``seen`` are the runs that check gets besides.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
EXPECTED = Path(__file__).parent / "lessons"


@dataclass(frozen=True)
class Answers:
    """Right and wrong answers to one exercise."""

    exercise: str
    right: list[str]
    wrong: list[str]
    seen: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lesson:
    """One lesson."""

    path: Path

    @property
    def number(self) -> str:
        return self.path.name[:2]

    @property
    def recording(self) -> Path:
        return NOTEBOOKS / "recordings" / self.number

    @property
    def notebook(self) -> Any:
        return nbformat.read(self.path, as_version=4)

    @property
    def code(self) -> list[Any]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    @property
    def expected(self) -> dict[str, Any]:
        return tomllib.loads((EXPECTED / f"{self.number}.toml").read_text(encoding="utf-8"))

    @property
    def answers(self) -> list[Answers]:
        return [Answers(**each) for each in self.expected["answer"]]


LESSONS = [Lesson(path) for path in sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))]
