# SPDX-License-Identifier: MIT
"""Histograms: as the kernel counted them, or of a column of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ..errors import CellError
from ..exported.seen import Seen, find, numbers, rows
from ..rows.columns import Array
from .plots_data import MOST, Wanted, groups, value_column
from .plots_figure import figure
from .plots_units import bucket, is_ns, label, nice_step, number, scale_of_ns, titled

if TYPE_CHECKING:
    import pandas as pd

KEYS = 10
BINS = 60
WIDE = 64.0  # greatest over median: beyond it equal bins would show one bar
WIDE_TIMES = 4.0
INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class Counts:
    """Buckets [low, high) in order, and for each key the hits in each; ``name`` is the value's."""

    name: str
    low: Array
    high: Array
    by_key: dict[str, Array]

    @property
    def even(self) -> bool:
        """Whether all buckets but the open ones at the ends are equally wide."""
        inner = (self.low > INT64.min) & (self.high < INT64.max)
        widths = self.high[inner] - self.low[inner]
        return len(widths) > 0 and bool(np.ptp(widths) <= 1e-9 * widths[0])


def hist(seen: Seen, wanted: Wanted) -> go.Figure:
    """Return a histogram: of an aggregate if there is one and no column is named."""
    tables = histograms(seen)
    if tables and not wanted.value:
        text, frame = chosen(tables, wanted.label)
        counts = of_table(text, frame)
    else:
        frame = rows(seen)
        name = value_column(frame, wanted.value)
        counts = of_column(frame, name, wanted.by)
        text = name
    draw = linear if counts.even else uneven
    return draw(seen, counts, label(text))


def histograms(seen: Seen) -> dict[str, pd.DataFrame]:
    """Return the aggregates that are histograms."""
    return {text: frame for text, frame in seen.aggregates.items()
            if {"low", "high", "count"} <= set(frame.columns)}  # fmt: skip


def chosen(tables: dict[str, pd.DataFrame], name: str) -> tuple[str, pd.DataFrame]:
    """Return the table called ``name``, or the first. Raises CellError."""
    if name and name not in tables:
        raise CellError(f"no aggregate {name!r} to plot", hint=f"there are {', '.join(tables)}")
    found = name or next(iter(tables))
    if not len(tables[found]):
        raise CellError(f"{found} is empty", hint="the card says how often the probe was hit")
    return found, tables[found]


def of_table(text: str, frame: pd.DataFrame) -> Counts:
    """Return an aggregate's buckets, those without a hit between them among them."""
    low, high = filled(frame["low"].to_numpy(), frame["high"].to_numpy())
    keys = [name for name in frame.columns if name not in ("low", "high", "count")]
    joined = frame[keys].astype(str).agg(", ".join, axis=1) if keys else None
    table = frame.assign(_key="" if joined is None else joined)
    joint = -(-len(low) // MOST)
    low, high = low[::joint], np.append(low[joint::joint], high[-1:])
    places = np.searchsorted(low, table["low"].to_numpy(), "right") - 1
    amounts = table["count"].to_numpy()
    by_key: dict[str, Array] = {}
    totals = table.groupby("_key", observed=True)["count"].sum().sort_values(ascending=False)
    for rank, key in enumerate(totals.index):
        name = str(key) if rank < KEYS else f"{len(totals) - KEYS} others"
        at = (table["_key"] == key).to_numpy()
        cells = by_key.setdefault(name, np.zeros(len(low), np.int64))
        np.add.at(cells, places[at], amounts[at])
    return Counts(value_name(text), low, high, by_key)


def value_name(text: str) -> str:
    """Return what a label says was counted: ``hist(latency, by = comm)`` is of latency."""
    match = re.match(r"\s*l?hist\s*\(([^,]*)[,)]", text)
    return match[1].strip() if match else text


def filled(low: Array, high: Array) -> tuple[Array, Array]:
    """Return the buckets in order, those that were never hit among them."""
    pairs = sorted(set(zip(low.tolist(), high.tolist(), strict=True)))
    numbered = [log2_number(start, end) for start, end in pairs]
    if all(log2_bounds(number)[0] == start and (end == log2_bounds(number)[1] or end >= INT64.max)
           for number, (start, end) in zip(numbered, pairs, strict=True)):  # fmt: skip
        whole = [log2_bounds(number) for number in range(numbered[0], numbered[-1] + 1)]
        pairs = [*whole[:-1], pairs[-1]]
    else:
        pairs = list(_without_gaps(pairs))
    return np.array([start for start, _ in pairs]), np.array([end for _, end in pairs])


def log2_number(low: int, high: int) -> int:
    """Return the number of the log2 bucket that begins at ``low``, or mirrored ends at ``high``."""
    return low.bit_length() if low >= 0 else -(1 - high).bit_length()


def log2_bounds(number: int) -> tuple[int, int]:
    """Return [low, high) of a log2 bucket, as bpf/body.h cuts them."""
    if number == 0:
        return 0, 1
    near, far = 1 << (abs(number) - 1), 1 << abs(number)
    return (near, far) if number > 0 else (1 - far, 1 - near)


def _without_gaps(pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield linear buckets, and the empty ones between them where that is not too many."""
    steps = [end - start for start, end in pairs if start > INT64.min and end < INT64.max]
    step = max(steps, default=0)
    for (start, end), (following, _) in zip(pairs, [*pairs[1:], pairs[-1]], strict=True):
        yield start, end
        if step and following - end < MOST * step:
            yield from ((at, at + step) for at in range(end, following, step))


def of_column(frame: pd.DataFrame, name: str, by: str) -> Counts:
    """Return the buckets of a column, in powers of two where its values range widely."""
    values = numbers(find(frame, name))
    real = values[~np.isnan(values)]
    if not len(real):
        raise CellError(f"{name!r} has no value in any row", hint="another column may")
    edges = edges_of(real, name)
    by_key = {}
    for key, at in groups(frame, by, KEYS):
        part = values[at]
        by_key[key] = np.histogram(part[~np.isnan(part)], edges)[0]
    return Counts(name, edges[:-1], edges[1:], by_key)


def edges_of(values: Array, name: str) -> Array:
    """Return the edges of the buckets for ``values``; times are soon in powers of two."""
    least, most = float(values.min()), float(values.max())
    whole = bool((values == np.floor(values)).all())
    wide = WIDE_TIMES if is_ns(name) else WIDE
    if whole and least >= 0 and most > wide * max(float(np.median(values)), 1.0):
        first = 0 if least < 1 else int(np.floor(np.log2(least)))
        powers = 2.0 ** np.arange(first, int(np.floor(np.log2(most))) + 2)
        return np.concatenate([[0.0], powers]) if least < 1 else powers
    step = nice_step((most - least) / BINS, whole) if most > least else 1.0
    start = np.floor(least / step) * step
    return np.asarray(start + step * np.arange(int((most - start) // step) + 2))


def linear(seen: Seen, counts: Counts, text: str) -> go.Figure:
    """Return bars on a number line; the open buckets stand beside their neighbours."""
    inner = (counts.low > INT64.min) & (counts.high < INT64.max)
    width = float((counts.high - counts.low)[inner][0])
    low = np.where(counts.low > INT64.min, counts.low, counts.high - width)
    unit, ns = ("", 1.0)
    if is_ns(counts.name):
        unit, ns = scale_of_ns(float(np.abs(low).max() + width))
    middles = (low + width / 2) / ns
    traces = [go.Bar(x=middles, y=cells, width=width / ns, name=label(key), showlegend=bool(key),
                     hovertext=_buckets(counts), hoverinfo="text+y+name")
              for key, cells in counts.by_key.items()]  # fmt: skip
    shown = figure(seen, text, titled(counts.name, unit), "count", traces)
    return shown.update_layout(barmode="stack", bargap=0)


def uneven(seen: Seen, counts: Counts, text: str) -> go.Figure:
    """Return equally wide bars for buckets that are not, as log2 histograms are read."""
    places = np.arange(len(counts.low))
    traces = [go.Bar(x=places, y=cells, name=label(key), showlegend=bool(key),
                     hovertext=_buckets(counts), hoverinfo="text+y+name")
              for key, cells in counts.by_key.items()]  # fmt: skip
    shown = figure(seen, text, f"{label(counts.name)}, from (a bucket ends where the next begins)",
                   "count", traces)  # fmt: skip
    every = max(1, len(places) // 24)
    ticks = [number(float(low), counts.name) if low > INT64.min else "…" for low in counts.low]
    shown.update_xaxes(tickvals=places[::every], ticktext=ticks[::every])
    return shown.update_layout(barmode="stack")


def _buckets(counts: Counts) -> list[str]:
    bounds = zip(counts.low.tolist(), counts.high.tolist(), strict=True)
    return [bucket(low, high, counts.name) for low, high in bounds]
