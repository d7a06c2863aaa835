# SPDX-License-Identifier: MIT
"""A run's way into a file: at its end, or while it goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from . import answers
from .errors import CellError, RecordingError
from .life import Life
from .rows.aggregates import decode_all
from .rows.recording import Rows
from .rows.stack_names import STACKS
from .saved.parquet import write
from .saved.past import Left, Past, to_metadata
from .saved.paths import path_of
from .saved.recorded import is_recording
from .saved.spool import Spool
from .whole import replacing

if TYPE_CHECKING:
    from .run import Run


def past_of(run: Run) -> Past:
    """Return all of a run but its rows, as it is now."""
    from . import __version__

    life, names = run._life, run.stack_names
    if any(key.type.kind in STACKS for each in run.artifact.source.aggregates for key in each.keys):
        # whoever loads it knows no addresses: the names stay in info
        decode_all(run.artifact.source.aggregates, *life.maps, run.plan.cpus, names)
    # as they are now, in one step each: the thread that reads adds to them
    info = dict(run.info)
    if "addresses" in info:
        info["addresses"] = dict(info["addresses"])
    outcome = life.outcome()
    outcome = replace(outcome, remarks=(*outcome.remarks, *run.losses_of_names, *names.remarks()))
    if run.failure is not None or outcome.reason == "target-lost":
        words = str(run.lost()) if outcome.reason == "target-lost" else ""
        outcome = replace(outcome, error=outcome.error or str(run.failure or ""), last_words=words)
    artifact = run.artifact
    more = {name: value for name, value in info.items() if name not in ("started", "left_out")}
    return Past(
        run.plan, artifact.source, str(info["target"]), __version__,
        artifact.compiler, artifact.seconds, artifact.digest, float(info.get("started", 0.0)),
        tuple(Left(str(each["name"]), str(each["why"])) for each in info["left_out"]),
        more, outcome, life.maps[1],
    )  # fmt: skip


class Savable(Protocol):
    """What is asked of a run before it is written."""

    name: str

    @property
    def state(self) -> str:
        """``running`` until it is over."""

    @property
    def stopped_by(self) -> str | None:
        """None while it has not begun."""


class Ending(Protocol):
    """A life whose frames have all come."""

    remarks: list[str]
    ended: threading.Event


AnyRun = TypeVar("AnyRun", bound=Savable)
Write = Callable[[AnyRun, Path], None]


def save(run: Run, path: str | Path) -> Path:
    """Write a run that is over to ``path``. Raises CellError, RecordingError."""
    return save_by(_write, run, path, "is still running", "stop() ends it", "has not run")


def save_by(
    put: Write[AnyRun], run: AnyRun, path: str | Path, going: str, hint: str, unborn: str
) -> Path:
    """Write any kind of run to ``path``; the words are for one that is not over or has not begun.

    Raises CellError, RecordingError.
    """
    if run.state == "running":
        raise CellError(f"{run.name} {going}", hint=hint)
    if run.stopped_by is None:
        raise CellError(f"{run.name} {unborn}: there is nothing to save")
    file = place(path)
    try:
        put(run, file)
    except OSError as error:
        raise unwritable(path, error) from None
    return file


def record_dry_run(run: Run, folder: Path) -> None:
    """Keep what a dry run shows, among the recordings of a folder. Raises RecordingError."""
    record_by(_write, run, folder)


def record_by(put: Write[AnyRun], run: AnyRun, folder: Path) -> None:
    """Keep what any kind of run shows, among the recordings of a folder. Raises RecordingError."""
    try:
        put(run, answers.new_file(folder, run.name))
    except OSError as error:
        raise unwritable(folder, error) from None


def _write(run: Run, file: Path) -> None:
    with replacing(file) as out:
        write(out, run.recording.arrows(), to_metadata(run.past()))


def place(path: str | Path) -> Path:
    """Return the file to write to: one that is not there, or a recording. Raises RecordingError."""
    file = path_of(path).absolute()
    try:
        there = file.exists()
    except (OSError, ValueError) as error:
        raise RecordingError(f"cannot write to {str(path)!r}: {error}") from None
    if there and not is_recording(file):
        raise RecordingError(
            f"{str(path)!r} is there and is not a recording: it is not overwritten",
            hint="give another name, or remove it",
        )
    return file


def unwritable(path: str | Path, error: OSError) -> RecordingError:
    """Return the error for a place that takes no file."""
    return RecordingError(f"cannot write to {str(path)!r}: {error.strerror or error}",
                          hint="choose a folder that exists, is yours and has room")  # fmt: skip


def spooled(run: Run, fresh: Callable[[], Rows]) -> Spool | None:
    """Return where the rows of a run with --save go, else None. Raises RecordingError."""
    path: str | Path = run.options.save
    folder = None if run.replayed else answers.folder()
    try:
        if not path and folder is not None:
            path = answers.new_file(folder, run.name)
        return Spool(place(path), fresh, _description(run)) if path else None
    except OSError as error:
        raise unwritable(path or str(folder), error) from None


def started(run: Run) -> None:
    """Put the file in its place, with what is known since the start. Raises RecordingError."""
    rows = run.recording
    if isinstance(rows, Spool):
        try:
            rows.install(_description(run))
        except OSError as error:  # its folder has gone meanwhile
            raise unwritable(rows.path, error) from None


def abandoned(run: Run) -> None:
    """Leave no file of a run that has not started."""
    rows = run.recording
    if isinstance(rows, Spool):
        rows.discard()


def _description(run: Run) -> bytes:
    return json.dumps(to_metadata(past_of(run))).encode()


def finish(run: Run, rows: Spool, life: Life) -> None:
    """Make the file of a run that has ended what it is to be; then the run is over."""

    def work() -> None:
        try:
            rows.finish(to_metadata(past_of(run)))
        except (OSError, RecordingError) as error:
            life.remarks.append(f"the recording stays as it was written while it ran: {error}")
        finally:
            life.ended.set()

    _aside(work)


def finish_by(put: Write[AnyRun], run: AnyRun, life: Ending) -> None:
    """Record any kind of run that has ended, if all are recorded; then it is over."""
    folder = answers.folder()
    if folder is None:
        life.ended.set()
        return

    def work() -> None:
        try:
            put(run, folder)
        except RecordingError as error:
            life.remarks.append(f"it was not recorded: {error}")
        finally:
            life.ended.set()

    _aside(work)


def _aside(work: Callable[[], None]) -> None:
    """Do it in a thread of its own: the one that reads frames must not wait for a disk."""
    try:
        threading.Thread(target=work, name="kpmagic recording").start()
    except RuntimeError:  # the interpreter is ending, and nobody waits for this thread any more
        work()
