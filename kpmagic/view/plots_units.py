# SPDX-License-Identifier: MIT
"""Numbers as a reader wants them: ns become µs, ms or s; other people's text becomes a label."""

from __future__ import annotations

import html
import re

import numpy as np

from ..rows.columns import Array
from .clean import clean

SCALES = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))
_NS = re.compile(r"(?:^|[^A-Za-z0-9])(?:latency|ts)\s*$|_ns$")


def label(text: object) -> str:
    """Return ``text`` for plotly, which takes some HTML as markup, and $…$ as TeX."""
    return html.escape(clean(text), quote=False).replace("$", "&#36;")


def is_ns(name: str) -> bool:
    """Whether a column or an expression of that name holds nanoseconds."""
    return _NS.search(name) is not None


def scale_of(values: Array, name: str) -> tuple[str, float]:
    """Return the unit to show ``values`` of ``name`` in, and how many of theirs make one."""
    if not is_ns(name) or not len(values):
        return "", 1.0
    return scale_of_ns(float(np.max(np.abs(values))))


def scale_of_ns(longest: float) -> tuple[str, float]:
    """Return the largest unit of which ``longest`` ns make at least one, and its ns."""
    return next(((unit, ns) for unit, ns in SCALES if longest >= ns), SCALES[-1])


def titled(name: str, unit: str) -> str:
    """Return an axis title: ``latency (µs)``."""
    return f"{label(name)} ({unit})" if unit else label(name)


def number(value: float, name: str) -> str:
    """Return one value of ``name``: ``1.02 µs``, ``4 096``, ``0.25``."""
    if is_ns(name):
        unit, ns = scale_of_ns(abs(value))
        return f"{value / ns:.3g} {unit}" if abs(value) < 1000 * ns else f"{value / ns:.0f} {unit}"
    if float(value).is_integer() and abs(value) < 1 << 53:
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.4g}"


def bucket(low: int, high: int, name: str) -> str:
    """Return a half-open interval: ``[512 ns, 1.02 µs)``; an open end is ``…``."""
    start = "…" if low <= -(1 << 63) else number(low, name)
    end = "…" if high >= (1 << 63) - 1 else number(high, name)
    return f"[{start}, {end})"


def nice_step(width: float, whole: bool = False) -> float:
    """Return the least of 1, 2, 5 times a power of ten that is at least ``width``."""
    if width <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(width))
    step = next(float(many * power) for many in (1, 2, 5, 10) if many * power >= width * 0.999999)
    return max(step, 1.0) if whole else step
