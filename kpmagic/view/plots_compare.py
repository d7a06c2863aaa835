# SPDX-License-Identifier: MIT
"""Two distributions in one figure: which share of the rows is at most how much."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..rows.columns import Array
from .plots_data import MOST
from .plots_figure import COLORS, titled_figure
from .plots_hist import WIDE
from .plots_units import label, scale_of, titled


class Compared(Protocol):
    """What comparison.Comparison has."""

    @property
    def names(self) -> tuple[str, str]:
        """The runs' names."""

    @property
    def column(self) -> str:
        """The column's name."""

    @property
    def samples(self) -> tuple[Array, ...]:
        """Sorted values of both."""

    @property
    def df(self) -> pd.DataFrame:
        """Quantiles with their limits."""


def overlaid(compared: Compared) -> go.Figure:
    """Return both cumulative distributions, with the quantiles and their limits."""
    joined = np.concatenate(compared.samples)
    middle = min(float(np.median(values)) for values in compared.samples)  # the quicker one's
    wide = joined.min() > 0 and joined.max() > WIDE * middle
    unit, ns = scale_of(np.array([middle]) if wide else joined, compared.column)
    traces = []
    sides = zip("ab", compared.names, compared.samples, COLORS, strict=False)
    for side, name, values, color in sides:
        traces += [_curve(values / ns, label(f"{side}: {name}"), color),
                   _quantiles(compared.df, side, ns, color)]  # fmt: skip
    title = f"{label(compared.column)}: {' and '.join(map(label, compared.names))}"
    shown = titled_figure(title, titled(compared.column, unit), "rows at most this (%)", traces)
    return shown.update_xaxes(type="log" if wide else "linear")


def _curve(values: Array, name: str, color: str) -> go.Scatter:
    """Return the share of rows up to each value; the extremes are always among the points."""
    at = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST)).round().astype(int))
    return go.Scatter(x=values[at], y=100 * (at + 1) / len(values), line_shape="hv", name=name,
                      line_color=color)  # fmt: skip


def _quantiles(table: pd.DataFrame, side: str, ns: float, color: str) -> go.Scatter:
    x, low, high = (table[name].to_numpy() / ns for name in (side, f"{side}_low", f"{side}_high"))
    limits = {"type": "data", "symmetric": False, "array": np.nan_to_num(high - x),
              "arrayminus": np.nan_to_num(x - low)}  # fmt: skip
    return go.Scatter(
        x=x, y=100 * table.index.to_numpy(), error_x=limits, mode="markers", marker_color=color,
        showlegend=False, name=f"{side}, 95 % limits",
    )  # fmt: skip
