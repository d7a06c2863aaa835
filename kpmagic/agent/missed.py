# SPDX-License-Identifier: MIT
"""The kernel's own count of hits whose program it did not run.

struct bpf_link_info has ``perf_event.kprobe.missed`` since Linux 6.7 (3acf8ace6823), and since then
``recursion_misses`` of struct bpf_prog_info counts kprobes too (dd8657894c11). Whether this kernel
has them is seen from how much of the struct it fills.
"""

from __future__ import annotations

from collections.abc import Iterable

from kpmagic.agent.libbpf import Link, object_info

PERF_EVENT, KPROBE_MULTI = 7, 8  # enum bpf_link_type
KPROBES = (3, 4)  # BPF_PERF_EVENT_KPROBE, BPF_PERF_EVENT_KRETPROBE
TYPE, ADDRESS, MISSED, LINK_END = 16, 40, 48, 56
MULTI_MISSED = 32
RECURSION, PROGRAM_END = 208, 216


def count_missed(links: Iterable[Link], programs: Iterable[int]) -> int | None:
    """Return the hits missed since planting, None when this kernel does not tell."""
    total = 0
    for link in links:
        info = link.info(LINK_END)
        missed = MULTI_MISSED if _word(info, 0, 4) == KPROBE_MULTI else MISSED
        if len(info) < LINK_END or not (_is_kprobe(info) or missed == MULTI_MISSED):
            return None
        total += _word(info, missed)
    for program in programs:
        info = object_info(program, PROGRAM_END)
        if len(info) < PROGRAM_END:
            return None
        total += _word(info, RECURSION)
    return total


def address_of(link: Link) -> int | None:
    """Return where the kernel says the probe is, None when it does not tell.

    Since Linux 6.6, 1b715e1b0ec5; 0 when the kernel hides addresses.
    """
    info = link.info(LINK_END)
    if len(info) < MISSED or not _is_kprobe(info):
        return None
    return _word(info, ADDRESS) or None


def _is_kprobe(info: bytes) -> bool:
    return _word(info, 0, 4) == PERF_EVENT and _word(info, TYPE, 4) in KPROBES


def _word(info: bytes, place: int, size: int = 8) -> int:
    return int.from_bytes(info[place : place + size], "little")
