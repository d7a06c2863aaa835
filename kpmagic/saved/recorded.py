# SPDX-License-Identifier: MIT
"""What a file holds that a run was saved to: a Parquet file, or the journal of one cut off."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from ..agent import wire
from ..errors import RecordingError
from ..life import Life
from ..outcome import CUT_OFF
from ..rows.batches import Batches
from ..rows.recording import Recording, Rows
from .journal import MAGIC as JOURNAL
from .journal import read as frames_of
from .parquet import MAGIC as PARQUET
from .parquet import Stored
from .past import HINT, AnyPast, Past, from_metadata, is_ours
from .paths import path_of

DAMAGED = "copy it again, or run its cell again"
REMARK = ("the recording breaks off here: what wrote it died, or had no more room; "
          "the rows until then are complete")  # fmt: skip


def read(path: str | Path) -> tuple[AnyPast, Rows]:
    """Return what is known of a recorded run, and its rows. Raises RecordingError."""
    file = path_of(path)
    try:
        begin = _first_bytes(file)
        if begin.startswith(PARQUET):
            return _parquet(file)
        if begin == JOURNAL:
            return _journal(file)
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        why = getattr(error, "strerror", error)
        raise RecordingError(f"cannot read {str(path)!r}: {why}") from None
    except RecordingError as error:
        hint = error.hint or f"{DAMAGED}; {HINT}"
        raise RecordingError(f"cannot read {str(path)!r}: {error.message}", hint=hint) from None
    raise RecordingError(f"cannot read {str(path)!r}: it is not a recording", hint=HINT)


def is_recording(file: Path) -> bool:
    """Whether a file is a recording, be it a damaged or newer one."""
    try:
        begin = _first_bytes(file)
        if begin.startswith(PARQUET):
            return is_ours(Stored(file).metadata)
    except (OSError, RecordingError):
        return False
    return begin == JOURNAL


def _first_bytes(file: Path) -> bytes:
    """Return enough to tell what it is; never waits, as for a FIFO. Raises OSError."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(fd, len(JOURNAL), 0)
    finally:
        os.close(fd)


def _parquet(file: Path) -> tuple[AnyPast, Rows]:
    rows = Stored(file)
    past = from_metadata(rows.metadata)
    rows.layouts = past.source.layouts
    return past, rows


def _journal(file: Path) -> tuple[Past, Rows]:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _from_frames(fd)
    finally:
        os.close(fd)


def _from_frames(fd: int) -> tuple[Past, Rows]:
    past: Past | None = None
    life: Life | None = None
    for type_, payload in frames_of(fd, os.fstat(fd).st_size):
        if type_ == wire.HELLO:
            past = _description(payload)
            life = life or _life(past)
        elif life is not None:
            life.on_frame(wire.Frame(type_, 0, payload))
            if life.error and not life.ended.is_set():
                raise RecordingError(life.error)
    if past is None or life is None:
        raise RecordingError("it breaks off before its first row")
    if not life.ended.is_set():
        life.reason = CUT_OFF
        life.remarks.append(REMARK)
    return replace(past, outcome=life.outcome(), maps=life.maps[1]), life.recording


def _description(payload: bytes) -> Past:
    try:
        metadata = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"it is damaged: {error}") from None
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise RecordingError("it is damaged: its description is not text")
    past = from_metadata(metadata)
    if not isinstance(past, Past):
        raise RecordingError("it is damaged: only a probe's run is written while it goes on")
    return past


def _life(past: Past) -> Life:
    """Return the life that the frames are about."""
    source = past.source
    try:
        rows = Batches.like(Recording(source.layouts, past.plan.sites, source.record_size,
                                      several=past.plan.several))  # fmt: skip
    except (ValueError, TypeError, OverflowError, MemoryError) as error:  # as numpy refuses them
        raise RecordingError(f"it is damaged: no record looks like that: {error}") from None
    return Life(0, rows, past.plan.probe.options.command)
