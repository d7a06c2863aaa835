# SPDX-License-Identifier: MIT
"""``run.flame``: an icicle of stacks, the outermost caller on top."""

from __future__ import annotations

from collections import defaultdict

import plotly.graph_objects as go

from ..exported.seen import Seen
from ..exported.stacks import Stack, stacks
from .plots_data import MOST
from .plots_figure import figure
from .plots_units import label as as_label
from .table import grouped


def flame(seen: Seen, column: str = "", value: str = "", label: str = "") -> go.Figure:
    """Return an icicle of the run's stacks; see stacks.stacks. Raises CellError."""
    found = stacks(seen, column, value, label)
    totals = sums(found.weights)
    # a caller weighs no less than what it calls, so the heaviest are a tree of their own
    nodes = sorted(totals, key=lambda path: (-totals[path], len(path)))[:MOST]
    numbers = {path: str(at) for at, path in enumerate(nodes)}
    trace = go.Icicle(
        ids=[numbers[path] for path in nodes],
        labels=[as_label(path[-1]) if path else "all" for path in nodes],
        parents=[numbers[path[:-1]] if path else "" for path in nodes],
        values=[totals[path] for path in nodes],
        branchvalues="total", tiling={"orientation": "v"}, sort=False,
        hovertemplate="%{label}<br>%{value} (%{percentRoot:.1%})<extra></extra>",
        root_color="rgba(128,128,128,0.3)",
    )  # fmt: skip
    left = len(totals) - len(nodes)
    note = f"{grouped(left)} of the lightest calls are left out" if left else ""
    shown = figure(seen, f"stacks by {as_label(found.what)}", "", "", [trace], note)
    return shown.update_layout(height=600)


def sums(weights: dict[Stack, float]) -> dict[Stack, float]:
    """Return the weight of every call path: its own, and that of what it calls. () is all."""
    totals: defaultdict[Stack, float] = defaultdict(float)
    for stack, weight in weights.items():
        for depth in range(len(stack) + 1):
            totals[stack[:depth]] += weight
    return dict(totals)
