# SPDX-License-Identifier: MIT
"""Rows → a Perfetto trace: a track for each thread, a slice for each call, an instant for a row.

The format is protobuf, protos/perfetto/trace/trace_packet.proto of the Perfetto project; field
numbers stand beside what they carry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .seen import is_number

if TYPE_CHECKING:
    import pandas as pd

BEGIN, END, INSTANT = 1, 2, 3  # TrackEvent.Type
SEQUENCE = 1
SHOWN = ("time", "pid", "tid", "comm", "latency", "probe")  # as tracks and slices
THREAD = ("pid", "tid", "cpu", "comm")  # columns that there must be
Thread = tuple[int, int, int]


def varint(number: int) -> bytes:
    """Return a number of at most 64 bits as protobuf does; of a negative one its complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: int | str | bytes) -> bytes:
    """Return one field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode("utf-8", errors="replace") if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def trace(frame: pd.DataFrame, name: str) -> bytes:
    """Return the bytes of a trace of ``frame``'s rows."""
    return b"".join(field(1, packet) for packet in _packets(frame, name))  # Trace.packet


def _packets(frame: pd.DataFrame, name: str) -> Iterator[bytes]:
    tracks: dict[Thread, int] = {}
    threads = _threads(frame)
    for thread, comm in zip(threads, frame["comm"].astype(str), strict=True):
        if thread not in tracks:
            tracks[thread] = len(tracks) + 1
            yield _track(tracks[thread], thread, comm)
    events = list(_events(frame, name, [tracks[thread] for thread in threads]))
    for order, event in sorted(events, key=lambda each: each[0]):
        # TracePacket: timestamp, trusted_packet_sequence_id, track_event
        yield field(8, order[0]) + field(10, SEQUENCE) + field(11, event)


def _threads(frame: pd.DataFrame) -> list[Thread]:
    """Return pid, tid and for the idle threads, which share the number 0, their CPU."""
    each = zip(frame["pid"].tolist(), frame["tid"].tolist(), frame["cpu"].tolist(), strict=True)
    return [(pid, tid, 0 if tid else cpu) for pid, tid, cpu in each]


def _track(uuid: int, thread: Thread, comm: str) -> bytes:
    described = field(1, thread[0]) + field(2, thread[1]) + field(5, comm)
    # track_descriptor: uuid, thread
    return field(10, SEQUENCE) + field(60, field(1, uuid) + field(4, described))


def _events(
    frame: pd.DataFrame, name: str, tracks: list[int]
) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    """Yield what to sort by, and a TrackEvent: type, track_uuid, name, debug_annotations.

    At one time what ends goes before what begins, and of what begins the longer is outside.
    """
    times = frame["time"].astype("datetime64[ns]").astype(np.int64).tolist()
    names = frame["probe"].astype(str) if "probe" in frame.columns else [name] * len(frame)
    spent = frame["latency"].tolist() if "latency" in frame.columns else [None] * len(frame)
    each = zip(times, names, spent, tracks, _annotations(frame), strict=True)
    for end, what, ns, track, notes in each:
        called = field(11, track) + field(23, what) + notes
        if not isinstance(ns, (int, float)) or ns != ns:  # some rows, or all, have no time
            yield (end, 2, 0), field(9, INSTANT) + called
        else:
            length = max(int(ns), 1)
            yield (end - length, 1, -length), field(9, BEGIN) + called
            yield (end, 0, 0), field(9, END) + field(11, track)


def _annotations(frame: pd.DataFrame) -> list[bytes]:
    """Return the other columns of each row as debug_annotations."""
    rows: list[list[bytes]] = [[] for _ in range(len(frame))]
    for column in frame.columns:
        if column in SHOWN:
            continue
        whole = is_number(frame[column]) and "float" not in str(frame[column].dtype).lower()
        for row, value in zip(rows, frame[column].tolist(), strict=True):
            row.append(_annotation(str(column), value, whole))
    return [b"".join(row) for row in rows]


def _annotation(name: str, value: Any, whole: bool) -> bytes:
    """Return a DebugAnnotation: name, and uint_value, int_value or string_value."""
    if value is None or str(value) in ("<NA>", "nan"):
        return b""
    if whole:
        number = int(value)
        shown = field(4, number) if number < 0 else field(3, number)
    else:
        shown = field(6, ";".join(value) if isinstance(value, list) else str(value))
    return field(4, field(10, name) + shown)
