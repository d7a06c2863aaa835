# SPDX-License-Identifier: MIT
"""Everything that can go wrong, as one tree.

* KpmagicError

  - CellError            the cell's text: syntax, options, names, types
  - SymbolError          the function: unknown, inlined, notrace, blacklisted, module not loaded
  - BuildError           a compiler refused or failed
  - VerifierError        the kernel's BPF verifier refused
  - AttachError          the kernel refused to plant the probe, or it could never fire
  - TargetError          the machine that is probed

    + TargetLost         it is gone
    + NotPermitted       it does not allow this

  - MissingDependency    a program or package is not installed
  - RecordingError       not a recording, damaged, or newer than this kpmagic

Each says what, where (in the cell as the user sees it) and what to do now.
"""

from __future__ import annotations

from dataclasses import dataclass

from .terminal import without_codes


@dataclass(frozen=True)
class Place:
    """A place in the user's cell: 1-based ``line`` and ``column`` of ``text``'s file.

    Line 1 is the magic line. ``column`` is 0 where only the line is known.
    """

    line: int
    column: int = 0
    text: str = ""
    cell: str = "cell"

    def __str__(self) -> str:
        where = f"{self.cell}:{self.line}"
        if self.column:
            where += f":{self.column}"
        if not self.text.strip():
            return where
        caret = f"\n    {' ' * (self.column - 1)}^" if self.column else ""
        return f"{where}\n    {self.text}{caret}"


class KpmagicError(Exception):
    """What kpmagic raises: a message, a place in the cell when there is one, and a hint."""

    def __init__(self, message: str, *, hint: str = "", place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        lines = [self.message]
        if self.place is not None:
            lines.append(f"  at {self.place}")
        lines += [f"  hint: {line}" for line in self.hint.splitlines() if line]
        return without_codes("\n".join(lines))  # some are a target's words, or a recording's

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class CellError(KpmagicError):
    """The cell's own text is wrong: syntax, options, names, types."""


class SymbolError(KpmagicError):
    """The function cannot be probed here; the message says why."""


class BuildError(KpmagicError):
    """A compiler refused the cell, or failed."""


class VerifierError(KpmagicError):
    """The kernel's BPF verifier refused the program."""


class AttachError(KpmagicError):
    """The kernel refused to plant the probe, or the probe could never fire."""


class TargetError(KpmagicError):
    """The machine to be probed cannot be used."""


class TargetLost(TargetError):
    """The machine to be probed is gone."""


class NotPermitted(TargetError):
    """The machine to be probed does not allow this."""


class MissingDependency(KpmagicError):
    """A program or package is missing; the hint is the command that installs it."""


class RecordingError(KpmagicError):
    """Not a recording, a damaged one, or one of a newer kpmagic."""
