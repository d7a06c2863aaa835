# SPDX-License-Identifier: MIT
"""The look every plot shares, readable on light and dark pages, and what a run has lost."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from ..exported.seen import Seen
from .plots_units import label
from .table import grouped

LOST = "#d62728"
# half transparent grey reads on white and on black
GRID = "rgba(128,128,128,0.25)"
INK = "rgb(128,128,128)"
# blue to yellow, both seen on white and on black
COLORS = ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#9d755d",
          "#ff9da6", "#79706e"]  # fmt: skip


def figure(seen: Seen, what: str, x: str, y: str, traces: list[Any], note: str = "") -> go.Figure:
    """Return the figure of ``traces`` with its titles; ``x`` and ``y`` are ready for plotly."""
    notes = [text for text in (note, loss_text(seen)) if text]
    title = f"{label(seen.name)}: {what}"
    if notes:
        title += f"<br><sup>{'; '.join(notes)}</sup>"
    return titled_figure(title, x, y, traces)


def titled_figure(title: str, x: str, y: str, traces: list[Any]) -> go.Figure:
    """Return the figure of ``traces``; all texts are ready for plotly."""
    shown = go.Figure(traces)
    shown.update_layout(
        title=title, xaxis_title=x, yaxis_title=y, colorway=COLORS, bargap=0.05,
        template="none", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font_color=INK, legend_itemsizing="constant", margin={"t": 70, "b": 60, "l": 80, "r": 30},
        hoverlabel_namelength=-1,
    )  # fmt: skip
    shown.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True, linecolor=INK)
    shown.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True, linecolor=INK)
    return shown


def loss_text(seen: Seen) -> str:
    """Return what is not in the plot, in the colour of losses, or ``""``."""
    stats = seen.stats
    lost = [f"{grouped(count)} {name}"
            for name, count in (("dropped", stats.dropped), ("missed", stats.missed or 0),
                                ("sampled out", stats.sampled), ("unpaired", stats.unpaired or 0))
            if count]  # fmt: skip
    return f"<span style='color:{LOST}'>{', '.join(lost)}</span>" if lost else ""
