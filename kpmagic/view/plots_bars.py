# SPDX-License-Identifier: MIT
"""A bar for each key: what the kernel aggregated by it, or how many rows have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ..exported.seen import Seen, find, is_number, numbers, rows
from ..rows.columns import Array
from .plots_data import FIXED, Wanted
from .plots_figure import figure
from .plots_hist import chosen
from .plots_units import is_ns, label, scale_of_ns, titled
from .table import grouped

if TYPE_CHECKING:
    import pandas as pd

BARS = 30


def bars(seen: Seen, wanted: Wanted) -> go.Figure:
    """Return the largest keys of an aggregate, or of the rows' column ``by``."""
    if seen.aggregates and not (wanted.by or wanted.value):
        text, table = chosen(dict(seen.aggregates), wanted.label)
        keys, amounts = of_table(table)
        value = text
    else:
        frame = rows(seen)
        by = wanted.by or _default_key(frame)
        keys, amounts = of_rows(frame, by, wanted.value)
        value = f"sum of {wanted.value}" if wanted.value else "rows"
        text = f"{value} by {by}"
    return drawn(seen, text, value, keys, amounts)


def of_table(table: pd.DataFrame) -> tuple[list[str], Array]:
    """Return an aggregate's keys as text, and its values; a histogram's buckets are added up."""
    amount = "value" if "value" in table.columns else "count"
    names = [name for name in table.columns if name not in (amount, "low", "high", "count")]
    if not names:
        return ["all"], np.array([float(table[amount].sum())])
    joined = table[names].astype(str).agg(", ".join, axis=1)
    summed = table[amount].astype(float).groupby(joined.to_numpy(), sort=False).sum()
    return [str(key) for key in summed.index], summed.to_numpy()


def _default_key(frame: pd.DataFrame) -> str:
    """Return the first emitted column of names, or ``probe``, or ``comm``."""
    emitted = [str(name) for name in frame.columns
               if name not in FIXED and not is_number(frame[name])]  # fmt: skip
    return emitted[0] if emitted else ("probe" if "probe" in frame.columns else "comm")


def of_rows(frame: pd.DataFrame, by: str, value: str) -> tuple[list[str], Array]:
    """Return the values of ``by``, and for each its rows, or the sum of ``value`` in them."""
    import pandas as pd

    codes, names = pd.factorize(find(frame, by).astype(str), use_na_sentinel=False)
    weights = np.nan_to_num(numbers(find(frame, value))) if value else None
    amounts = np.bincount(codes, weights, minlength=len(names))
    return [str(name) for name in names], amounts


def drawn(seen: Seen, text: str, value: str, keys: list[str], amounts: Array) -> go.Figure:
    """Return the figure of the largest bars, the largest on top."""
    order = np.argsort(-amounts, kind="stable")[:BARS]
    unit, ns = ("", 1.0)
    if is_ns(value.rstrip(")")) or "(latency" in value:
        unit, ns = scale_of_ns(float(np.abs(amounts).max()))
    places = np.arange(len(order))
    names = [label(keys[at]) for at in order]
    trace = go.Bar(x=amounts[order] / ns, y=places, orientation="h", hovertext=names,
                   hoverinfo="x+text")  # fmt: skip
    left = len(keys) - len(order)
    note = f"the largest {len(order)} of {grouped(len(keys))}" if left else ""
    shown = figure(seen, label(text), titled(value, unit), "", [trace], note)
    shown.update_yaxes(tickvals=places, ticktext=names, autorange="reversed")
    return shown.update_layout(height=max(260, 130 + 22 * len(order)))
