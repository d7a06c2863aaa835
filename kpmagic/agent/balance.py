# SPDX-License-Identifier: MIT
"""Makes a run's numbers add up: ``entries == hits + unpaired + in_flight``."""

from __future__ import annotations

Counters = dict[str, int]


def cut(counters: Counters, rows: int) -> Counters:
    """Take back rows that came after the last one asked for: they were never hits."""
    result = dict(counters)
    result["hits"] -= rows
    result["rows"] -= rows
    if result["entries"]:
        result["entries"] -= rows
    return result


def settle(counters: Counters, in_flight: int, unpaired: int) -> tuple[Counters, int, str]:
    """Return counters with the judged calls in them, calls in flight, and a remark or ``""``.

    What nobody accounts for is a return that was missed and whose place another call has taken.
    """
    known = counters["hits"] + counters["unpaired"] + in_flight + unpaired
    rest = counters["entries"] - known
    remark = ""
    if rest < 0:
        remark = f"{-rest} more calls were left over than had begun; they are not counted"
        in_flight, unpaired = _less(in_flight, unpaired, -rest)
    total = counters["unpaired"] + unpaired + max(0, rest)
    return {**counters, "unpaired": total}, in_flight, remark


def _less(in_flight: int, unpaired: int, surplus: int) -> tuple[int, int]:
    from_unpaired = min(unpaired, surplus)
    from_in_flight = min(in_flight, surplus - from_unpaired)
    return in_flight - from_in_flight, unpaired - from_unpaired
