# SPDX-License-Identifier: MIT
"""What a panel says of each probe, without a widget."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..cell.values import show_share
from .card import state_text
from .clean import clean
from .table import Table, grouped

HEADERS = ("probe", "state", "hits/s", "hits", "rows", "lost", "cost", "target")
RIGHT = (False, False, True, True, True, True, True, False)


@dataclass(frozen=True)
class Row:
    """One probe: ``cells`` as HEADERS says, and whether it runs."""

    cells: tuple[str, ...]
    running: bool


class Meter:
    """How much a count grows in a second, from one look to the next."""

    def __init__(self) -> None:
        self._last: weakref.WeakKeyDictionary[Any, tuple[float, int, float]] = (
            weakref.WeakKeyDictionary()
        )

    def rate(self, run: Any, number: int) -> float:
        """Return the rate since the last look; looks within half a second are one."""
        now = time.monotonic()
        start = (now - float(run.age), 0, 0.0)
        before, count, rate = self._last.get(run, start)
        if number < count:  # it was started again
            before, count, rate = start
        if now - before < 0.5 and rate:
            return rate
        rate = (number - count) / max(now - before, 0.001)
        self._last[run] = (now, number, rate)
        return rate


HITS, BUSY = Meter(), Meter()  # of all panels, so that two agree


def row(run: Any) -> Row:
    """Return what is to say of one run now; of a module there are no hits."""
    stats = run.stats
    running = run.state == "running"
    lost = [f"{grouped(count)} {what}" for what, count in (("dropped", stats.dropped),
                                                           ("missed", stats.missed or 0))
            if count]  # fmt: skip
    rate = f"{HITS.rate(run, stats.hits):,.0f}".replace(",", " ") if running else ""
    state, target = clean(state_text(run)), clean(run.connection.name)
    cells = (clean(run.name), state, rate, grouped(stats.hits), grouped(stats.rows),
             ", ".join(lost) or "0", cost(run), target)  # fmt: skip
    return Row(cells, running)


def cost(run: Any) -> str:
    """Return what handlers take of one CPU: now, and of one that is over all the time it ran."""
    told = run.info.get("cost")
    if told is None:
        return "" if run.stats.cost is None and not run.stats.hits else "unknown"
    if run.state == "running":
        return show_share(BUSY.rate(run, int(told["busy_ns"])) / 1e9)
    return show_share(float(told["share"]))


def table(rows: Iterable[Row]) -> Table:
    """Return all of them as a table."""
    return Table(HEADERS, tuple(each.cells for each in rows), RIGHT)
