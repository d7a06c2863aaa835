# SPDX-License-Identifier: MIT
"""What a run has to show, live, finished or loaded, and its columns by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..cell.syntax import suggestion
from ..errors import CellError
from ..rows.columns import Array
from ..stats import Stats

if TYPE_CHECKING:
    import pandas as pd


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
    if not isinstance(name, str) or name not in frame.columns:
        known = ", ".join(map(str, frame.columns))
        near = suggestion(str(name), map(str, frame.columns))
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
