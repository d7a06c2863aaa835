# SPDX-License-Identifier: MIT
"""The kernel's own count of hits whose program it did not run.

struct bpf_link_info has ``perf_event.kprobe.missed`` since Linux 6.7 (3acf8ace6823), and since then
``recursion_misses`` of struct bpf_prog_info counts kprobes too (dd8657894c11). Whether this kernel
has them is seen from how much of the struct it fills.
"""

from __future__ import annotations

from collections.abc import Iterable

from kpmagic.agent.libbpf import object_info
from kpmagic.agent.objects import Link

PERF_EVENT, KPROBE_MULTI = 7, 8  # enum bpf_link_type
KPROBE, KRETPROBE = 3, 4  # BPF_PERF_EVENT_KPROBE, BPF_PERF_EVENT_KRETPROBE
TYPE, ADDRESS, MISSED, LINK_END = 16, 40, 48, 56
MULTI_FLAGS, MULTI_MISSED = 28, 32
MULTI_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN
RECURSION, PROGRAM_END = 208, 216

Missed = dict[str, int]
REASONS = ("probe", "return", "program")  # see the wire's END


def count_missed(links: Iterable[Link], programs: Iterable[int]) -> Missed | None:
    """Return the hits missed since planting, by the wire's reasons; None: it does not tell."""
    found = dict.fromkeys(REASONS, 0)
    for link in links:
        info = link.info(LINK_END)
        if len(info) < LINK_END:
            return None
        if _is_kprobe(info):
            returns, missed = _word(info, TYPE, 4) == KRETPROBE, _word(info, MISSED)
        elif _word(info, 0, 4) == KPROBE_MULTI:
            returns = bool(_word(info, MULTI_FLAGS, 4) & MULTI_RETURN)
            missed = _word(info, MULTI_MISSED)
        else:
            return None
        found["return" if returns else "probe"] += missed
    for program in programs:
        info = object_info(program, PROGRAM_END)
        if len(info) < PROGRAM_END:
            return None
        found["program"] += _word(info, RECURSION)
    return found


def address_of(link: Link) -> int | None:
    """Return where the kernel says the probe is, None when it does not tell.

    Since Linux 6.6, 1b715e1b0ec5; 0 when the kernel hides addresses.
    """
    info = link.info(LINK_END)
    if len(info) < MISSED or not _is_kprobe(info):
        return None
    return _word(info, ADDRESS) or None


def _is_kprobe(info: bytes) -> bool:
    return _word(info, 0, 4) == PERF_EVENT and _word(info, TYPE, 4) in (KPROBE, KRETPROBE)


def _word(info: bytes, place: int, size: int = 8) -> int:
    return int.from_bytes(info[place : place + size], "little")
