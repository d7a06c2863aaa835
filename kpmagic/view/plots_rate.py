# SPDX-License-Identifier: MIT
"""Rows a second over time, with the spans in which rows were lost."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go

from ..exported.seen import Seen, find, rows
from ..rows.columns import Array
from .plots_data import Wanted, groups, seconds
from .plots_figure import LOST, figure
from .plots_units import label, nice_step, number, scale_of_ns

SLICES = 200
KEYS = 10


def rate(seen: Seen, wanted: Wanted) -> go.Figure:
    """Return rows a second over time, a line for each value of ``by``. Raises CellError."""
    frame = rows(seen)
    since, start = seconds(frame)
    by = wanted.by or ("probe" if "probe" in frame.columns else "")
    if by:
        find(frame, by)
    step = nice_step(max(float(since.max()), 1.0) / SLICES, whole=True)
    count = int(since.max() // step) + 1
    unit, ns = scale_of_ns(count * step)
    middles = (np.arange(count) + 0.5) * step / ns
    slices = (since // step).astype(np.int64)
    traces = [
        go.Scatter(x=middles, y=np.bincount(slices[at], minlength=count) * (1e9 / step),
                   mode="lines" if count > 1 else "markers", line_shape="hvh", name=label(name),
                   showlegend=bool(by))
        for name, at in groups(frame, by, KEYS)
    ]  # fmt: skip
    shown = figure(seen, "rows a second", f"time since {start:%H:%M:%S.%f} UTC ({unit})",
                   "rate (rows/s)", traces, f"each point is {number(step, 'latency')}")  # fmt: skip
    shown.update_yaxes(rangemode="tozero")
    for low, high, lost in spans(np.sort(since), getattr(seen, "losses", ())):
        shown.add_vrect(x0=low / ns, x1=high / ns, fillcolor=LOST, opacity=0.2, line_width=0,
                        annotation_text=f"{lost} dropped", annotation_font_color=LOST)  # fmt: skip
    return shown


def spans(times: Array, losses: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return from, to (ns) and count of each span with losses, neighbours as one.

    ``losses`` are (rows that had arrived before, and after, rows dropped meanwhile).
    """
    found: list[tuple[int, int, int]] = []
    last = len(times) - 1
    for before, after, lost in losses:
        low = int(times[min(max(before - 1, 0), last)])
        high = int(times[min(max(after - 1, 0), last)])
        if found and low <= found[-1][1]:
            low, _, more = found.pop()
            lost += more
        found.append((low, high, lost))
    return found
