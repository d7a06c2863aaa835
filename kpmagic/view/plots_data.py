# SPDX-License-Identifier: MIT
"""What a plot takes from a run: its columns, checked, and no more points than a reader can see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..columns import Array
from ..errors import CellError
from ..stats import Stats
from ..syntax import suggestion

if TYPE_CHECKING:
    import pandas as pd

MOST = 2000  # points of a trace
FIXED = ("time", "cpu", "pid", "tid", "comm", "probe")


class Seen(Protocol):
    """What can be plotted: a Run, live, finished or loaded."""

    @property
    def name(self) -> str:
        """The probe's name."""

    @property
    def aggregates(self) -> Mapping[str, pd.DataFrame]:
        """Label → table."""

    @property
    def stats(self) -> Stats:
        """The numbers."""

    def df(self, engine: str = "pandas") -> Any:
        """Return the rows."""


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


def rows(seen: Seen) -> pd.DataFrame:
    """Return the rows. Raises CellError when there is none."""
    frame: pd.DataFrame = seen.df()
    if len(frame):
        return frame
    if seen.aggregates:
        hint = "it has aggregates: plot('hist') or plot('bars') shows them"
    else:
        hint = "the card says how often the probe was hit, and where the hits went"
    raise CellError(f"{seen.name} has no rows to plot", hint=hint)


def find(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column. Raises CellError."""
    if name not in frame.columns:
        known = ", ".join(map(str, frame.columns))
        near = suggestion(name, map(str, frame.columns))
        raise CellError(f"no column {name!r}", hint=near or f"there are {known}")
    found: pd.Series = frame[name]
    return found


def is_number(column: pd.Series) -> bool:
    """Whether a column can be an axis: numbers, or integers of 64 bits of both signs."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column.dtype):
        return True
    if column.dtype != object:
        return False
    first = next((value for value in column if value is not None), None)
    return isinstance(first, (int, np.integer))


def numbers(column: pd.Series) -> Array:
    """Return the values as floats, NaN where there is none. Raises CellError."""
    if not is_number(column):
        raise CellError(
            f"{str(column.name)!r} is not a number",
            hint=f"plot('bars', by={str(column.name)!r}) counts its values",
        )
    found: Array = column.to_numpy(dtype=float, na_value=np.nan)
    return found


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
