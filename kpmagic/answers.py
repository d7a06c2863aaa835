# SPDX-License-Identifier: MIT
"""What cells got besides rows, kept beside recordings: output of ``%kp``, and errors.

With KPMAGIC_RECORD=FOLDER in the environment every run goes to a file of its own there, and the
rest to ``answers.json``; targets/replay.py plays such a folder cell for cell.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import errors
from .cell.script import Script
from .errors import KpmagicError, Place, RecordingError
from .model import Module, Probe
from .planted.cost import Costs
from .planted.values import Probed
from .saved.paths import path_of
from .saved.plain import from_plain, to_plain
from .whole import replacing

ENVIRONMENT = "KPMAGIC_RECORD"
FILE = "answers.json"
LARGEST = 16 << 20
# options that change what a cell gets; the others only say how it is shown, or for how long
KEPT = ("command", "follow", "where", "pid", "comm", "cpu", "sample", "defines")
LATER = ("fields", "depth")  # not in recordings from before there were any


@dataclass(frozen=True)
class Failure:
    """An error as a value: the name of its class, and what it says."""

    kind: str
    message: str
    hint: str = ""
    place: Place | None = None


@dataclass(frozen=True)
class Picture:
    """What a ``%kp`` line showed besides text, as the value it is shown from."""

    trampoline: Probed | None = None
    mechanisms: Costs | None = None


@dataclass(frozen=True)
class Answer:
    """What a ``cell`` printed, showed and returned, or how it failed.

    See `of_probe`, `of_module`, `of_script`, `of_line`.
    """

    cell: str
    text: str = ""
    value: int | None = None
    failure: Failure | None = None
    picture: Picture | None = None


def of_probe(probe: Probe) -> str:
    """Return what makes two probe cells the same: place, body, and options that matter."""
    body = None if probe.body is None else [
        line.rstrip() for line in probe.body.strip().splitlines()]  # fmt: skip
    options = [to_plain(getattr(probe.options, name)) for name in KEPT]
    options += [to_plain(value) for name in LATER if (value := getattr(probe.options, name))]
    if probe.options.inject:
        options += [probe.options.times, probe.options.probability]
    return json.dumps([probe.kind, [spec.text for spec in probe.specs], body, options])


def of_module(module: Module) -> str:
    """Return what makes two module cells the same: name, source, and options that matter."""
    source = [line.rstrip() for line in module.source.strip().splitlines()]
    return json.dumps(["kmodule", module.name, source, module.options.command,
                       module.options.rename])  # fmt: skip


def of_script(script: Script) -> str:
    """Return what makes two cells of other tracers the same: text, places, options that matter."""
    text = [line.rstrip() for line in script.text.strip().splitlines()]
    return json.dumps([script.tool, list(script.places), text, script.options.command,
                       to_plain(script.options.defines)])  # fmt: skip


def of_line(words: Iterable[str]) -> str:
    """Return what makes two ``%kp`` lines the same."""
    return json.dumps(["kp", *words])


def words_of(cell: str) -> list[str]:
    """Return the words of a ``%kp`` line's cell, nothing of another's or of what is none."""
    try:
        head, *words = json.loads(cell)
    except (ValueError, TypeError, RecursionError):
        return []
    return words if head == "kp" and all(isinstance(word, str) for word in words) else []


def folder() -> Path | None:
    """Return where all cells are recorded, None where they are not. Raises RecordingError."""
    name = os.environ.get(ENVIRONMENT)
    return path_of(name).absolute() if name else None


def new_file(where: Path, name: str) -> Path:
    """Return a file for the next run there: numbered, and with its name. Raises OSError."""
    where.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:40]
    numbered = (re.match(r"(\d{3,9})-", file.name) for file in where.glob("*.parquet"))
    number = 1 + max((int(match[1]) for match in numbered if match), default=0)
    return where / f"{number:03d}-{safe}.parquet"


def read(file: Path) -> tuple[Answer, ...]:
    """Return what is kept in ``file``. Raises RecordingError."""
    try:
        if file.stat().st_size > LARGEST:
            raise RecordingError(f"cannot read {str(file)!r}: it is too large")
        plain = json.loads(file.read_bytes())
        return from_plain(tuple[Answer, ...], plain, "answers")
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingError(f"cannot read {str(file)!r}: {error}") from None


def add(where: Path, answer: Answer) -> None:
    """Keep ``answer`` in a folder; a newer one of the same cell takes its place.

    Raises RecordingError.
    """
    file = where / FILE
    try:
        where.mkdir(parents=True, exist_ok=True)
        kept = [each for each in (read(file) if file.exists() else ()) if each.cell != answer.cell]
        with replacing(file) as out:
            out.write(json.dumps(to_plain([*kept, answer]), indent=1).encode())
    except OSError as error:
        raise RecordingError(f"cannot write to {str(file)!r}: {error.strerror or error}",
                             hint=f"{ENVIRONMENT} names a folder of yours") from None  # fmt: skip


def failure_of(error: KpmagicError) -> Failure:
    """Return an error as a value."""
    kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__)
    return Failure(kind, error.message, error.hint, error.place)


def error_of(failure: Failure) -> KpmagicError:
    """Return the error of `failure_of`; what is no class of errors.py is a KpmagicError."""
    kind = getattr(errors, failure.kind, None)
    known = isinstance(kind, type) and issubclass(kind, KpmagicError)
    chosen: type[KpmagicError] = kind if known and kind is not None else KpmagicError
    return chosen(failure.message, hint=failure.hint, place=failure.place)
