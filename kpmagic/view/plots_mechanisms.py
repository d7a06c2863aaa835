# SPDX-License-Identifier: MIT
"""A bar for each way into the kernel: what a hit costs, with its quartiles."""

from __future__ import annotations

from typing import Protocol

import pandas as pd
import plotly.graph_objects as go

from .plots_figure import titled_figure
from .plots_units import label


class Measured(Protocol):
    """What mechanisms.Mechanisms has."""

    @property
    def symbol(self) -> str:
        """The function."""

    @property
    def notes(self) -> list[str]:
        """How it was measured."""

    @property
    def df(self) -> pd.DataFrame:
        """A row for each bar."""


def bars(measured: Measured) -> go.Figure:
    """Return the ways side by side, for each handler a colour."""
    table = measured.df
    traces = []
    for probe in table["probe"].unique():
        rows = table[table["probe"] == probe]
        spread = {"type": "data", "symmetric": False, "array": rows["high"] - rows["ns"],
                  "arrayminus": rows["ns"] - rows["low"]}  # fmt: skip
        traces.append(go.Bar(
            x=[label(str(way)) for way in rows["way"]], y=rows["ns"], error_y=spread,
            name=label(str(probe)), customdata=rows["n"],
            hovertemplate="%{x}: %{y:,.0f} ns in %{customdata} rounds",
        ))  # fmt: skip
    title = f"{label(measured.symbol)}: what a hit costs"
    if measured.notes:
        title += f"<br><sup>{label(measured.notes[0])}</sup>"
    shown = titled_figure(title, "", "ns per hit", traces)
    return shown.update_layout(barmode="group", bargap=0.2)
