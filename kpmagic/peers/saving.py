# SPDX-License-Identifier: MIT
"""A run of another tracer into a file, and what is beside its lines out of it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..saved.parquet import write
from ..saved.past import PeerPast, to_metadata
from ..saving import finish_by, record_by, save_by
from ..whole import replacing
from .bcc_output import BccOutput
from .output import Output

if TYPE_CHECKING:
    from .life import PeerLife
    from .run import PeerRun

AnyOutput = Output | BccOutput
OUTPUTS: dict[str, type[AnyOutput]] = {"bpftrace": Output, "bcc": BccOutput}


def past_of(run: PeerRun) -> PeerPast:
    """Return all of a run but its lines, as it is now."""
    from .. import __version__

    life, info = run._life, run.info
    return PeerPast(
        run.script, run.artifact.source, str(info["target"]), str(info["kernel_release"]),
        __version__, float(info.get("started", 0.0)), float(info.get("start_seconds", 0.0)),
        life.said, run.outcome(), json.dumps(life.printed.state()).encode(),
    )  # fmt: skip


def restore(printed: AnyOutput, maps: bytes) -> None:
    """Give an output what a recording has beside its lines. Raises ValueError."""
    try:
        printed.restore(json.loads(maps))
    except RecursionError as error:
        raise ValueError(str(error)) from None


def save(run: PeerRun, path: str | Path) -> Path:
    """Write a run that is over to ``path``. Raises CellError, RecordingError."""
    return save_by(_write, run, path, "is still running", "stop() ends it", "has not run")


def record(run: PeerRun, folder: Path) -> None:
    """Keep what a run shows, among the recordings of a folder. Raises RecordingError."""
    record_by(_write, run, folder)


def finish(run: PeerRun, life: PeerLife) -> None:
    """Record a run that has ended, if all are recorded; then it is over."""
    finish_by(record, run, life)


def _write(run: PeerRun, file: Path) -> None:
    with replacing(file) as out:
        write(out, run.rows.arrows(), to_metadata(past_of(run)))
