# SPDX-License-Identifier: MIT
"""A module's aggregation tables, one for each CPU → entries as a BPF per-CPU hash map has them."""

from __future__ import annotations

import struct

HEAD = struct.Struct("<Q16s")  # 1 when in use; n and v


def merge(table: bytes, key_size: int, slots: int, cpus: int) -> tuple[int, bytes]:
    """Return how many keys there are, and for each the key and every CPU's n and v.

    ``table`` is, for each CPU, ``slots`` times: u64 in use, u64 n, s64 v, the key.
    """
    size = HEAD.size + key_size
    found: dict[bytes, list[bytes]] = {}
    for cpu in range(cpus):
        start = cpu * slots * size
        # one look at all marks together: most slots are free
        marks = memoryview(table)[start : start + slots * size].cast("Q")[:: size // 8].tolist()
        for slot in (number for number, mark in enumerate(marks) if mark):
            at = start + slot * size
            key = table[at + HEAD.size : at + size]
            totals = found.setdefault(key, [b"\0" * 16] * cpus)
            totals[cpu] = table[at + 8 : at + HEAD.size]
    return len(found), b"".join(key + b"".join(totals) for key, totals in found.items())
