# SPDX-License-Identifier: MIT
"""A module's run into a file, and out of it again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from .. import answers
from ..errors import RecordingError
from ..outcome import Outcome
from ..saved.parquet import replacing, write
from ..saved.past import ModulePast, to_metadata
from ..saving import record_by, save_by

if TYPE_CHECKING:
    from .run import ModuleLife, ModuleRun


def past_of(run: ModuleRun) -> ModulePast:
    """Return all of a run but its log, as it is now."""
    from .. import __version__

    outcome = _outcome(run)
    frames = run.oops() if outcome.last_words else []
    artifact, info = run.artifact, run.info
    return ModulePast(
        run.module, artifact.source, str(info["target"]), str(info["kernel_release"]), __version__,
        artifact.compiler, artifact.seconds, artifact.digest, float(info.get("started", 0.0)),
        tuple(run.build_warnings), {each.place: each.line for each in frames if each.line},
        {name: info[name] for name in ("size", "load_seconds") if name in info}, outcome,
    )  # fmt: skip


def _outcome(run: ModuleRun) -> Outcome:
    run._life.last_words = run.last_words
    return run._life.outcome()


def save(run: ModuleRun, path: str | Path) -> Path:
    """Write a run that is over to ``path``. Raises CellError, RecordingError."""
    return save_by(_write, run, path, "is still loaded", "stop() removes it", "has not been loaded")


def record(run: ModuleRun, folder: Path) -> None:
    """Keep what a run shows, among the recordings of a folder. Raises RecordingError."""
    record_by(_write, run, folder)


def finish(run: ModuleRun, life: ModuleLife) -> None:
    """Record a run that has ended, if all are recorded; then it is over."""
    folder = answers.folder()
    if folder is None:
        life.ended.set()
        return

    def work() -> None:
        try:
            record(run, folder)
        except RecordingError as error:
            life.remarks.append(f"it was not recorded: {error}")
        finally:
            life.ended.set()

    try:
        threading.Thread(target=work, name="kpmagic recording").start()
    except RuntimeError:  # the interpreter is ending, and nobody waits for this thread any more
        work()


def _write(run: ModuleRun, file: Path) -> None:
    with replacing(file) as out:
        write(out, run.log.arrows(), to_metadata(past_of(run)))
