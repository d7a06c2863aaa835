# SPDX-License-Identifier: MIT
"""Two runs side by side: the quantiles of a column, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CellError
from .exported.seen import Seen, find, numbers, rows
from .rows.columns import Array
from .view.plots_data import value_column
from .view.plots_units import number
from .view.table import Table, grouped

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = (0.5, 0.9, 0.99)
LEVEL = 0.95
DRAWS = 4000


def compare(
    a: Seen, b: Seen, column: str = "", *, quantiles: float | Iterable[float] = QUANTILES
) -> Comparison:
    """Compare a column of two runs: ``latency``, or the first emitted number, if none is named.

    Raises CellError.
    """
    for run in (a, b):
        if not callable(getattr(run, "df", None)):
            raise CellError(f"compare takes two runs, not a {type(run).__name__}",
                            hint="-o NAME binds a run to NAME")  # fmt: skip
    frame = rows(a)
    name = value_column(frame, column)
    wanted = tuple(quantiles) if isinstance(quantiles, Iterable) else (quantiles,)
    if not wanted or not all(isinstance(each, Real) and 0 < each < 1 for each in wanted):
        raise CellError(f"quantiles {wanted}: each lies between 0 and 1", hint="0.5 is the median")
    samples = tuple(_sample(run, name) for run in (a, b))
    return Comparison((a.name, b.name), name, wanted, samples)


def _sample(run: Seen, name: str) -> Array:
    values = numbers(find(rows(run), name))
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        raise CellError(f"{name!r} has no value in any row of {run.name}")
    return values


def ranks(count: int, quantile: float, level: float = LEVEL) -> tuple[int, int]:
    """Return the 1-based ranks of ``count`` sorted values that enclose a quantile.

    That is exact for any distribution: of ``count`` values a Binomial(count, quantile) number
    lies below the quantile. 0 and ``count`` + 1: so few values do not bound it on that side.
    """
    middle = int((count + 1) * quantile)
    spread = int(8 * math.sqrt(count * quantile * (1 - quantile))) + 8
    below = np.arange(max(0, middle - spread), min(count, middle + spread) + 1)
    steps = (count - below[:-1]) / below[1:] * quantile / (1 - quantile)
    logs = np.concatenate([[0.0], np.cumsum(np.log(steps))])
    share = np.exp(logs - logs.max())
    sums = np.cumsum(share) / share.sum()
    tail = (1 - level) / 2
    low = int(below[np.searchsorted(sums, tail, "right")])
    high = int(below[np.searchsorted(sums, 1 - tail)]) + 1
    return low, high


@dataclass(frozen=True)
class Comparison:
    """The quantiles of ``column`` in runs a and b; ``samples`` are their values, sorted."""

    names: tuple[str, str]
    column: str
    quantiles: tuple[float, ...]
    samples: tuple[Array, ...]

    @cached_property
    def df(self) -> pd.DataFrame:
        """A row for each quantile: its value in a and b, and b - a, each with 95 % limits.

        A limit is NaN where there are too few rows to tell. ``differs``: b - a is surely not 0.
        """
        import pandas as pd

        table = pd.DataFrame(
            [self._row(each) for each in self.quantiles],
            index=pd.Index(self.quantiles, name="quantile"),
        )
        table["differs"] = (table["difference_low"] > 0) | (table["difference_high"] < 0)
        return table

    def _row(self, quantile: float) -> dict[str, float]:
        row: dict[str, float] = {}
        for side, values in zip("ab", self.samples, strict=True):
            low, high = ranks(len(values), quantile)
            row[side] = float(values[math.ceil(len(values) * quantile) - 1])
            row[f"{side}_low"] = float(values[low - 1]) if low else math.nan
            row[f"{side}_high"] = float(values[high - 1]) if high <= len(values) else math.nan
        row["difference"] = row["b"] - row["a"]
        known = not any(math.isnan(value) for value in row.values())
        limits = self._difference(quantile) if known else (math.nan, math.nan)
        return row | {"difference_low": limits[0], "difference_high": limits[1]}

    def _difference(self, quantile: float) -> tuple[float, float]:
        """Bootstrap b - a: a resampled quantile is the value at a Beta-distributed rank."""
        draws = np.random.default_rng(1)
        drawn = []
        for values in self.samples:
            rank = math.ceil(len(values) * quantile)
            shares = draws.beta(rank, len(values) - rank + 1, DRAWS)
            drawn.append(values[np.minimum((shares * len(values)).astype(int), len(values) - 1)])
        low, high = np.quantile(drawn[1] - drawn[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def plot(self) -> Any:
        """Return both distributions in one plotly Figure."""
        from .view.plots_compare import overlaid

        return overlaid(self)

    def table(self) -> Table:
        """Return what is shown."""
        lines = []
        for quantile, row in self.df.iterrows():
            cells = [self._text(row, side) for side in ("a", "b", "difference")]
            lines.append((f"{float(str(quantile)):.3%}".rstrip("0%").rstrip(".") + " %", *cells,
                          "differs" if row["differs"] else ""))  # fmt: skip
        titles = [f"{side}: {name}" for side, name in zip("ab", self.names, strict=True)]
        counts = " and ".join(grouped(len(values)) for values in self.samples)
        return Table(
            headers=("quantile", *titles, "b - a", ""),
            rows=tuple(lines),
            right=(True, True, True, True, False),
            caption=f"{self.column}, with limits that hold at 95 %",
            footer=f"{counts} rows",
        )

    def _text(self, row: pd.Series, side: str) -> str:
        low, high = (row[f"{side}_{end}"] for end in ("low", "high"))
        limits = ["?" if math.isnan(each) else number(each, self.column) for each in (low, high)]
        return f"{number(row[side], self.column)} ({limits[0]} … {limits[1]})"

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        from .view.card import STYLE

        return f"<div class='kp-card'>{STYLE}{self.table().html()}</div>"
