# SPDX-License-Identifier: MIT
"""A module's run into a file, and out of it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..outcome import Outcome
from ..saved.parquet import write
from ..saved.past import ModulePast, to_metadata
from ..saving import finish_by, record_by, save_by
from ..whole import replacing

if TYPE_CHECKING:
    from .run import ModuleLife, ModuleRun

KEPT = ("size", "load_seconds", "cwd_note")  # of its info, beyond module and artifact


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
        {name: info[name] for name in KEPT if name in info}, outcome,
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
    finish_by(record, run, life)


def _write(run: ModuleRun, file: Path) -> None:
    with replacing(file) as out:
        write(out, run.log.arrows(), to_metadata(past_of(run)))
