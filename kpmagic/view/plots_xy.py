# SPDX-License-Identifier: MIT
"""Two columns against each other: as points, or one over time as a heatmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ..errors import CellError
from ..exported.seen import Seen, find, numbers, rows
from ..rows.columns import Array
from .plots_data import MOST, Wanted, emitted_numbers, groups, seconds, thinned, value_column
from .plots_figure import figure
from .plots_hist import WIDE, edges_of
from .plots_units import bucket, label, number, scale_of, scale_of_ns, titled
from .table import grouped

if TYPE_CHECKING:
    import pandas as pd

KEYS = 10
SLICES = 60  # times 33 buckets: a heatmap's cells are points too
BUCKETS = MOST // SLICES


def scatter(seen: Seen, wanted: Wanted) -> go.Figure:
    """Return points of ``y`` (or ``column``) over ``x``, which is time when it is not named."""
    frame = rows(seen)
    taken = [wanted.x] if wanted.x else []
    y_name = wanted.y or wanted.column or _other(frame, taken)
    x, x_title, x_type = _axis(frame, wanted.x or "time")
    y, y_title, y_type = _axis(frame, y_name)
    traces, shown_points = [], 0
    for name, at in groups(frame, wanted.by, KEYS):
        at = at[~(np.isnan(x[at]) | np.isnan(y[at]))]
        at = at[thinned(x[at], y[at])]
        shown_points += len(at)
        traces.append(go.Scatter(x=x[at], y=y[at], mode="markers", name=label(name),
                                 marker={"size": 5, "opacity": 0.7},
                                 showlegend=bool(wanted.by)))  # fmt: skip
    if not shown_points:
        raise CellError(f"no row has a value of {y_name!r} and one of {wanted.x or 'time'!r}",
                        hint="other columns may")  # fmt: skip
    note = (f"{grouped(shown_points)} of {grouped(len(frame))} points: the least and greatest of "
            "each slice") if shown_points < len(frame) else ""  # fmt: skip
    shown = figure(seen, f"{label(y_name)} over {label(wanted.x or 'time')}", x_title, y_title,
                   traces, note)  # fmt: skip
    return shown.update_layout(xaxis_type=x_type, yaxis_type=y_type)


def _other(frame: pd.DataFrame, taken: list[str]) -> str:
    """Return the column to plot against the ones that are ``taken``."""
    left = [name for name in emitted_numbers(frame) if name not in taken]
    if not left:
        raise CellError("no other emitted column is a number", hint="name one: y='pid'")
    return "latency" if "latency" in left else left[0]


def _axis(frame: pd.DataFrame, name: str) -> tuple[Array, str, str]:
    """Return a column's values in the unit its title names, and the axis's type.

    It is logarithmic where on an even one most values could not be told from nothing.
    """
    if name == "time":
        since, start = seconds(frame)
        unit, ns = scale_of_ns(float(since.max()))
        return since / ns, f"time since {start:%H:%M:%S.%f} UTC ({unit})", "linear"
    values = numbers(find(frame, name))
    real = values[~np.isnan(values)]
    wide = len(real) > 0 and float(real.min()) > 0 and real.max() > WIDE * np.median(real)
    unit, ns = scale_of(np.median(real, keepdims=True) if wide else real, name)
    return values / ns, titled(name, unit), "log" if wide else "linear"


def heatmap(seen: Seen, wanted: Wanted) -> go.Figure:
    """Return how often each value of a column came over time. Raises CellError."""
    frame = rows(seen)
    name = value_column(frame, wanted.value)
    values = numbers(find(frame, name))
    times, title, _ = _axis(frame, "time")
    real = ~np.isnan(values)
    if not real.any():
        raise CellError(f"{name!r} has no value in any row", hint="another column may")
    edges = _few(edges_of(values[real], name))
    end = max(float(times.max()), 1e-9)
    slices = np.linspace(0, end, SLICES + 1)
    cells = np.histogram2d(values[real], times[real], (edges, slices))[0]
    shown = figure(seen, f"{label(name)} over time", title, label(name),
                   [_heat(cells, edges, slices, name)])  # fmt: skip
    places = np.arange(len(edges)) - 0.5
    every = max(1, len(edges) // 16)
    ticks = [number(float(edge), name) for edge in edges]
    return shown.update_yaxes(tickvals=places[::every], ticktext=ticks[::every])


def _few(edges: Array) -> Array:
    """Return at most BUCKETS intervals: neighbours joined."""
    every = -(-(len(edges) - 1) // BUCKETS)
    kept = edges[::every]
    return kept if kept[-1] == edges[-1] else np.append(kept, edges[-1])


def _heat(cells: Array, edges: Array, slices: Array, name: str) -> go.Heatmap:
    texts = [bucket(low, high, name) for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(),
                                                          strict=True)]  # fmt: skip
    middles = (slices[:-1] + slices[1:]) / 2
    return go.Heatmap(
        x=middles, y=np.arange(len(texts)), z=np.where(cells > 0, cells, np.nan),
        text=[[text] * len(middles) for text in texts], colorscale="Viridis", hoverongaps=False,
        hovertemplate="%{text}<br>%{z} rows<extra></extra>", colorbar={"title": "rows"},
    )  # fmt: skip
