# SPDX-License-Identifier: MIT
"""Reads whole hash maps at once."""

from __future__ import annotations

import ctypes
import errno
from typing import Any

from kpmagic.agent.libbpf import library, refused
from kpmagic.agent.objects import Map

TOTAL_SIZE = 16  # struct kp_total of bpf/record.h


def read_keys(source: Map) -> bytes:
    """Return the keys of a hash map, one behind the other. Raises Refused."""
    return _batch(source, source.value_size)[0]


def read_aggregates(sources: list[Map], cpus: int) -> tuple[list[dict[str, Any]], bytes]:
    """Return the wire's AGGREGATES: index and blob. Raises Refused."""
    index, blobs = [], []
    for source in sources:
        keys, totals = _batch(source, TOTAL_SIZE * cpus)
        entries = len(keys) // source.key_size
        index.append({"map": source.name, "key_size": source.key_size, "entries": entries})
        blobs.append(_side_by_side(keys, totals, entries))
    return index, b"".join(blobs)


def _batch(source: Map, value_size: int) -> tuple[bytes, bytes]:
    """Hash maps have BPF_MAP_LOOKUP_BATCH since Linux 5.6, ring buffers came in 5.8."""
    most = source.max_entries
    keys = ctypes.create_string_buffer(most * source.key_size)
    values = ctypes.create_string_buffer(most * ((value_size + 7) & ~7))
    count = ctypes.c_uint32(most)
    cursor = ctypes.c_uint32()
    result = library().bpf_map_lookup_batch(
        source.fd, None, ctypes.byref(cursor), keys, values, ctypes.byref(count), None
    )
    if result < 0 and result != -errno.ENOENT:  # ENOENT: that was all
        raise refused(-result, "os", f"reading map '{source.name}'")
    size = count.value * ((value_size + 7) & ~7)
    return keys.raw[: count.value * source.key_size], values.raw[:size]


def _side_by_side(keys: bytes, values: bytes, entries: int) -> bytes:
    """Put each key before its values, a column of words at a time."""
    if not entries:
        return b""
    result = bytearray(len(keys) + len(values))
    words = memoryview(result).cast("Q")
    width = len(words) // entries
    place = 0
    for part in (memoryview(keys).cast("Q"), memoryview(values).cast("Q")):
        columns = len(part) // entries
        for column in range(columns):
            words[place + column :: width] = part[column::columns]
        place += columns
    return bytes(result)
