# SPDX-License-Identifier: MIT
"""What a hit costs by each way into the kernel: table, text, HTML, and a bar chart."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..planted.cost import Costs
from .clean import clean, escape
from .table import Table, grouped

if TYPE_CHECKING:
    import pandas as pd

QUARTILES = (0.25, 0.5, 0.75)
COLUMNS = ("way", "probe", "place", "mechanism", "ns", "low", "high", "least", "most", "n",
           "hits", "dropped")  # fmt: skip


class Mechanisms(Costs):
    """What a hit costs by each way into the kernel; what ``kpmagic.mechanisms`` returns."""

    @cached_property
    def df(self) -> pd.DataFrame:
        """A row for each way and handler: ``ns`` a hit has cost in the median of ``n`` rounds.

        ``low`` and ``high`` are the quartiles, ``least`` and ``most`` the extremes; ``hits`` and
        ``dropped`` are sums of all rounds, ``dropped`` NA where nobody counts.
        """
        import pandas as pd

        rows = [(each.way, each.probe, each.place, each.mechanism, *_numbers(each.ns),
                 each.hits, pd.NA if each.dropped < 0 else each.dropped)
                for each in self.samples]  # fmt: skip
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        return frame.astype({"dropped": "Int64"})

    def plot(self) -> Any:
        """Return a plotly Figure: a bar for each way, with its quartiles."""
        from .plots_mechanisms import bars

        return bars(self)

    def table(self) -> Table:
        """Return what is shown."""
        rows = tuple(
            (clean(each.way), clean(each.probe), clean(each.place), clean(each.mechanism),
             *map(_ns, _numbers(each.ns)[:3]), str(len(each.ns)), grouped(each.hits),
             "?" if each.dropped < 0 else grouped(each.dropped))
            for each in self.samples
        )  # fmt: skip
        headers = ("way", "probe", "place", "planted by", "ns per hit", "25 %", "75 %", "rounds",
                   "hits", "dropped")  # fmt: skip
        right = (False,) * 4 + (True,) * 6
        return Table(headers, rows, right, clean(self.caption), "\n".join(map(clean, self.notes)))

    @property
    def caption(self) -> str:
        """What was measured, in one line."""
        return (f"what a hit of {self.symbol} costs, over the call without a probe: "
                f"{self.target} {self.release}, {self.cpus} CPUs")  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """How it was measured, and what was not."""
        low, median, high = np.quantile(self.bare, QUARTILES) if self.bare else (0.0,) * 3
        each = "a run" if self.calls == 1 else f"{grouped(self.calls)} calls on one CPU, one"
        rounds = max((len(each.ns) for each in self.samples), default=0)
        said = [f"{self.workload}: {each} takes {_ns(median)} ns ({_ns(low)} … {_ns(high)}) "
                f"without a probe; {rounds} rounds, each with every way in a new order; "
                "medians and quartiles"]  # fmt: skip
        said += ["interrupted: only complete rounds are counted"] * self.broken_off
        return said + [f"{each.way}, {each.probe}: not measured: {each.why}"
                       for each in self.aside]  # fmt: skip

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        from .card import STYLE

        table = self.table()
        notes = "".join(f"<div class='kp-note'>{escape(note)}</div>" for note in self.notes)
        plain = Table(table.headers, table.rows, table.right, table.caption)
        return f"<div class='kp-card'>{STYLE}{plain.html()}{notes}</div>"


def _numbers(ns: tuple[float, ...]) -> tuple[float, float, float, float, float, int]:
    """Return median, quartiles, extremes, and how many there are."""
    low, median, high = (float(each) for each in np.quantile(ns, QUARTILES))
    return median, low, high, min(ns), max(ns), len(ns)


def _ns(value: float) -> str:
    return grouped(round(float(value)))
