# SPDX-License-Identifier: MIT
"""A small table, as text and as HTML with the same content."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .clean import BESIDE, clean, escape

if TYPE_CHECKING:
    import pandas as pd

ROWS = 20
BAR = 30
SHOWN_FRAMES = 3  # of a stack


@dataclass(frozen=True)
class Table:
    """Headers and cells as text; ``right`` says which columns are numbers."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]
    caption: str = ""
    footer: str = ""

    def text(self) -> str:
        """Return the table as lines of text."""
        cells = [self.headers, *self.rows]
        widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
        lines = [self.caption] if self.caption else []
        for row in cells:
            each = zip(row, widths, self.right, strict=True)
            parts = [pad(cell, size, right) for cell, size, right in each]
            lines.append("  " + "  ".join(parts).rstrip())
        return "\n".join(lines + [self.footer] * bool(self.footer))

    def html(self) -> str:
        """Return the table as HTML."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.headers)
        body = "".join(
            "<tr>" + "".join(_cell(cell, right)
                             for cell, right in zip(row, self.right, strict=True)) + "</tr>"
            for row in self.rows
        )  # fmt: skip
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        footer = f"<div class='kp-note'>{escape(self.footer)}</div>" if self.footer else ""
        return (f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
                + footer)  # fmt: skip


def _cell(cell: str, right: bool) -> str:
    return f"<td class='kp-n'>{escape(cell)}</td>" if right else f"<td>{escape(cell)}</td>"


def width(text: str) -> int:
    """Return the columns ``text`` takes on a terminal: East Asian wide characters take two."""
    wide = sum(unicodedata.east_asian_width(mark) in "WF" for mark in text)
    marks = sum(unicodedata.combining(mark) > 0 for mark in text)
    return len(text) + wide - marks - text.count(BESIDE)


def pad(text: str, size: int, right: bool) -> str:
    """Return ``text`` with blanks up to ``size`` columns."""
    blanks = " " * (size - width(text))
    return blanks + text if right else text + blanks


def grouped(number: int) -> str:
    """Return a number with its thousands apart: ``1 893``."""
    return f"{number:,}".replace(",", " ")


def of_frame(frame: pd.DataFrame, total: int, what: str = "rows", caption: str = "") -> Table:
    """Return the first rows of ``frame``, of which there are ``total`` in all."""
    shown = frame.head(ROWS)
    columns = [_column(shown[name]) for name in shown.columns]
    footer = f"{grouped(len(shown))} of {grouped(total)} {what}" if total > len(shown) else ""
    return Table(
        headers=tuple(clean(name) for name in shown.columns),
        rows=tuple(zip(*columns, strict=True)) if columns else (),
        right=tuple(is_number(shown[name]) for name in shown.columns),
        caption=clean(caption),
        footer=footer,
    )


def is_number(column: pd.Series) -> bool:
    """Whether a column is shown flush right."""
    return str(column.dtype).lower().lstrip("u").startswith(("int", "float"))


def _column(column: pd.Series) -> list[str]:
    if column.name == "time" and str(column.dtype).startswith("datetime64"):
        return [f"{stamp:%H:%M:%S}.{stamp.nanosecond + stamp.microsecond * 1000:09d}"
                for stamp in column]  # fmt: skip
    return [_value(value) for value in column]


def _value(value: object) -> str:
    if value is None or str(value) in ("<NA>", "NaT", "nan"):
        return ""
    if isinstance(value, list):  # a stack
        return clean(" ← ".join(value[:SHOWN_FRAMES]) + " …" * (len(value) > SHOWN_FRAMES))
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean(value.tolist() if isinstance(value, np.ndarray) else value)


def of_histogram(frame: pd.DataFrame, caption: str) -> Table:
    """Return a histogram's buckets with a bar each."""
    shown = frame.head(2 * ROWS)
    most = max(int(shown["count"].max()), 1) if len(shown) else 1
    names = [name for name in shown.columns if name not in ("low", "high", "count")]
    keys = [[_value(value) for value in shown[name]] for name in names]
    bounds = [_bucket(int(low), int(high))
              for low, high in zip(shown["low"], shown["high"], strict=True)]  # fmt: skip
    counts = [int(count) for count in shown["count"]]
    bars = ["█" * -(-count * BAR // most) for count in counts]
    rows = tuple(zip(*keys, bounds, map(str, counts), bars, strict=True))
    left = len(frame) - len(shown)
    return Table(
        headers=(*map(clean, names), "from, below", "count", ""),
        rows=rows,
        right=(*(False for _ in keys), True, True, False),
        caption=clean(caption),
        footer=f"{grouped(len(shown))} of {grouped(len(frame))} buckets" if left else "",
    )


def _bucket(low: int, high: int) -> str:
    start = "…" if low <= -(1 << 63) else str(low)
    end = "…" if high >= (1 << 63) - 1 else str(high)
    return f"[{start}, {end})"
