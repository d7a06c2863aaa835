# SPDX-License-Identifier: MIT
"""An exercise's answer is judged by what it shows; a hint is given, the answer never."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..cell.syntax import suggestion
from ..errors import CellError
from ..modules.run import ModuleRun
from ..result import Result

# a judge's own steps fail on answers of another kind than was asked for
OF_ANOTHER_KIND = (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError)
LESSONS = tuple(f"{number:02d}" for number in range(1, 13))


class Hint(Exception):
    """What a judge raises on a wrong answer: what to look at next."""


Judge = Callable[..., None]


@dataclass(frozen=True)
class Exercise:
    """One exercise: ``wants`` says what kind of answer it takes."""

    name: str
    wants: str
    judge: Judge


@dataclass(frozen=True, repr=False)
class Verdict:
    """What `check` says of an answer; true when it is right."""

    exercise: str
    right: bool
    hint: str = ""

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"✓ {self.exercise}: right" if self.right else f"✗ {self.exercise}: {self.hint}"


EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, wants: str) -> Callable[[Judge], Judge]:
    """Have the decorated function judge exercise ``name`` (``"03.2"``)."""

    def keep(judge: Judge) -> Judge:
        EXERCISES[name] = Exercise(name, wants, judge)
        return judge

    return keep


def check(name: str, answer: Any, *seen: Any) -> Verdict:
    """Say whether ``answer`` solves exercise ``name``, and if not, where to look. Raises CellError.

    The answer is what the exercise asks for: a value, or the run that shows it. ``seen`` is what
    the question is about, where it is about runs of the lesson.
    """
    asked = find(name)
    if answer is ...:
        return Verdict(name, False, f"not answered yet: it wants {asked.wants}, in place of ...")
    try:
        asked.judge(answer, *seen)
    except Hint as hint:
        return Verdict(name, False, str(hint))
    except OF_ANOTHER_KIND:
        return Verdict(name, False, f"not the kind of answer that is asked for: {asked.wants}")
    return Verdict(name, True)


def find(name: str) -> Exercise:
    """Return an exercise. Raises CellError."""
    known = isinstance(name, str)
    lesson = name.partition(".")[0] if known else ""
    if lesson in LESSONS:
        importlib.import_module(f"{__package__}.exercises.lesson{lesson}")
    if not known or name not in EXERCISES:
        raise CellError(f"no exercise {name!r}", hint=suggestion(str(name), EXERCISES)
                        or 'lesson and number, as the lesson has it: check("01.1", …)')  # fmt: skip
    return EXERCISES[name]


def the_run(answer: object) -> Any:
    """Return ``answer`` if it is a run that has ended. Raises Hint."""
    if not isinstance(answer, (Result, ModuleRun)):
        raise Hint("the run itself is wanted: bind it with -o NAME and give NAME to check, or the "
                   "value of kpmagic.probe(…)")  # fmt: skip
    if answer.state == "running":
        raise Hint("the run is still going on: --while or --for gives it an end")
    if answer.error or answer.state == "failed":
        raise Hint("the run failed; its card says why")
    return answer


def need(condition: object, hint: str) -> None:
    """Raise Hint unless ``condition`` holds."""
    if not condition:
        raise Hint(hint)


def places(run: Any) -> set[str]:
    """Return the symbols a run has probed, each as the kernel calls it."""
    return {site.symbol for site in run.plan.sites}


def is_value(name: str, value: object, digest: str) -> bool:
    """Whether ``value`` is the one whose digest this is: so the answer is not in the source."""
    return digest_of(name, value) == digest


def digest_of(name: str, value: object) -> str:
    """Return the digest of a single value: text without blanks around it, in small letters."""
    text = " ".join(str(value).split()).strip("'\"()").lower()
    return hashlib.sha256(f"kpmagic {name} {text}".encode()).hexdigest()[:16]
