# SPDX-License-Identifier: MIT
"""What a plot takes from a run: its columns and keys, and no more points than a reader can see."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CellError
from ..exported.seen import find, is_number
from ..rows.columns import Array

if TYPE_CHECKING:
    import pandas as pd

MOST = 2000  # points of a trace
FIXED = ("time", "cpu", "pid", "tid", "comm", "probe")


@dataclass(frozen=True)
class Wanted:
    """What the caller named: columns, the key to tell traces apart, an aggregate's label."""

    column: str = ""
    x: str = ""
    y: str = ""
    by: str = ""
    label: str = ""

    @property
    def value(self) -> str:
        """The one column of the kinds that have one."""
        return self.column or self.y or self.x


def emitted_numbers(frame: pd.DataFrame) -> list[str]:
    """Return the columns a body emitted that are numbers, in its order."""
    return [str(name) for name in frame.columns
            if name not in FIXED and is_number(frame[name])]  # fmt: skip


def value_column(frame: pd.DataFrame, wanted: str) -> str:
    """Return the column to plot: ``wanted``, or latency, or the first number. Raises CellError."""
    if wanted:
        find(frame, wanted)
        return wanted
    found = emitted_numbers(frame)
    if not found:
        raise CellError("no emitted column is a number", hint="plot('rate') needs none")
    return "latency" if "latency" in found else found[0]


def seconds(frame: pd.DataFrame) -> tuple[Array, pd.Timestamp]:
    """Return ns since the first row, and when that was (UTC)."""
    times = frame["time"]
    start = times.min()
    since: Array = (times - start).to_numpy().astype("timedelta64[ns]").astype(np.int64)
    return since, start


def groups(frame: pd.DataFrame, by: str, most: int) -> list[tuple[str, Array]]:
    """Return value of ``by`` → row numbers, the largest ``most`` groups and ``others``."""
    import pandas as pd

    if not by:
        return [("", np.arange(len(frame)))]
    codes, values = pd.factorize(find(frame, by).astype(str), use_na_sentinel=False)
    counts = np.bincount(codes, minlength=len(values))
    order = np.argsort(-counts, kind="stable")
    found = [(str(values[code]), np.flatnonzero(codes == code)) for code in order[:most]]
    if len(order) > most:
        rest = np.flatnonzero(np.isin(codes, order[most:]))
        found.append((f"{len(order) - most} others", rest))
    return found


def thinned(x: Array, y: Array, most: int = MOST) -> Array:
    """Return numbers of at most ``most`` points: the least and greatest y of each slice of x."""
    order = np.argsort(x, kind="stable")
    if len(order) <= most:
        return order
    edges = np.linspace(0, len(order), most // 2 + 1).astype(np.int64)
    kept = []
    for start, end in pairwise(edges.tolist()):
        part = y[order[start:end]]
        kept += sorted({start + int(part.argmin()), start + int(part.argmax())})
    chosen: Array = order[np.array(kept, np.int64)]
    return chosen
