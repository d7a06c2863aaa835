# SPDX-License-Identifier: MIT
"""``run.plot``: the kinds of plots, and which of them shows a run best."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from ..cell.syntax import suggestion
from ..errors import CellError
from ..exported.seen import Seen
from ..exported.stacks import are_keys
from .flame import flame
from .plots_bars import bars
from .plots_data import Wanted, emitted_numbers
from .plots_hist import hist, histograms
from .plots_rate import rate
from .plots_xy import heatmap, scatter

KINDS: dict[str, Callable[[Seen, Wanted], go.Figure]] = {
    "rate": rate,
    "hist": hist,
    "scatter": scatter,
    "heatmap": heatmap,
    "bars": bars,
}
FLAME = "flame"  # of stacks, which have arguments of their own


def plot(seen: Seen, kind: str | None, wanted: Wanted) -> go.Figure:
    """Return a figure of ``kind``, or of the kind that shows this run best. Raises CellError."""
    name = kind or default_kind(seen)
    if name == FLAME:
        return flame(seen, wanted.value, label=wanted.label)
    if name not in KINDS:
        known = (*KINDS, FLAME)
        hint = suggestion(name, known) or f"there are {', '.join(known)}"
        raise CellError(f"no kind of plot {name!r}", hint=hint)
    return KINDS[name](seen, wanted)


def default_kind(seen: Seen) -> str:
    """Return hist, flame or bars for aggregates, heatmap for latencies, otherwise rate."""
    if are_keys(seen):
        return FLAME
    if histograms(seen):
        return "hist"
    if seen.aggregates:
        return "bars"
    return "heatmap" if "latency" in emitted_numbers(seen.df()) else "rate"
