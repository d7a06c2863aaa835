# SPDX-License-Identifier: MIT
"""Maps as bpftrace prints them in JSON → DataFrames like those of a probe's aggregates."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import numpy as np

from .maps import Map

if TYPE_CHECKING:
    import pandas as pd

INT64 = np.iinfo(np.int64)
STATS = ("count", "average", "total")
NUMBER = re.compile(r"-?\d{1,18}")
FRAME = re.compile(r"\+(?:0x)?[0-9a-f]+$")


def table(kind: str, value: Any, known: Map) -> pd.DataFrame:
    """Return one map as keys, then ``count``/``value``, or ``low``, ``high``, ``count``.

    ``kind`` is bpftrace's own: map, hist, stats. ``known`` is what the script says of the map.
    """
    import pandas as pd

    entries = _entries(kind, value, known)
    columns: dict[str, list[Any]] = {}
    rows: list[tuple[int, dict[str, Any]]] = [
        (at, row) for at, (_, item) in enumerate(entries) for row in _rows(kind, item, known)
    ]
    taken = {name for _, row in rows for name in row} or set(_value_names(kind, known))
    # a key may be called as what is counted by it: @[args->count] = count()
    found = key_columns([key for key, _ in entries], known)
    keys = {apart(name, taken): values for name, values in found.items()}
    for name, values in keys.items():
        columns[name] = [values[at] for at, _ in rows]
    for _, row in rows:
        for name, cell in row.items():
            columns.setdefault(name, []).append(cell)
    if not rows:
        columns |= {name: [] for name in (*keys, *_value_names(kind, known))}
    frame = pd.DataFrame(columns)
    if any(";" in str(key) for values in keys.values() for key in values[:1]):
        frame = _merged(frame, list(keys), known)
    order = [name for name in (*keys, "low") if name in frame]
    sortable = [name for name in order if frame[name].map(type).nunique() <= 1]
    return frame.sort_values(sortable, ignore_index=True) if sortable and len(frame) else frame


def _merged(frame: pd.DataFrame, keys: list[str], known: Map) -> pd.DataFrame:
    """Return stacks of the same functions as one, where their values can be added."""
    if known.function not in ("count", "sum", "hist", "lhist"):
        return frame
    names = keys + [name for name in ("low", "high") if name in frame]
    return frame.groupby(names, sort=False, as_index=False).sum()


def _entries(kind: str, value: Any, known: Map) -> list[tuple[str, Any]]:
    """Return (key, value) pairs; a map without keys has one, of the key ``""``."""
    keyed = isinstance(value, dict)
    if keyed and kind == "stats" and not known.keys:
        keyed = not set(value) <= set(STATS)
    return list(value.items()) if keyed else [("", value)]


def _value_names(kind: str, known: Map) -> tuple[str, ...]:
    if kind == "hist":
        return ("low", "high", "count")
    if known.function == "stats":
        return STATS
    return ("count",) if known.function == "count" else ("value",)


def _rows(kind: str, item: Any, known: Map) -> list[dict[str, Any]]:
    """Return the rows of one entry: a histogram has one for each bucket that is not empty."""
    if kind == "hist" and isinstance(item, list):
        return [{"low": each.get("min", INT64.min),
                 "high": each["max"] + 1 if "max" in each else INT64.max,
                 "count": each["count"]}
                for each in item if each.get("count")]  # fmt: skip
    if isinstance(item, dict) and set(item) <= set(STATS):
        return [dict(item)]
    name = "count" if known.function == "count" else "value"
    if isinstance(item, str):
        item = stack(item)
    return [{name: item}]


def apart(name: str, taken: Container[str]) -> str:
    """Return a column's name, with a number where it is ``taken``."""
    numbered = (f"{name}_{number}" for number in itertools.count(1))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def key_columns(keys: list[str], known: Map) -> dict[str, list[Any]]:
    """Return name → values of the keys; numbers where all of a column are."""
    if keys == [""] and not known.keys:
        return {}
    names = known.keys or ("key",)
    rows = [split(key, known, len(names)) for key in keys]
    columns: dict[str, list[Any]] = {}
    for at, name in enumerate(names):
        values = [row[at] for row in rows]
        is_text = at < len(known.texts) and known.texts[at]
        if not is_text and all(NUMBER.fullmatch(value) for value in values):
            columns[name] = [int(value) for value in values]
        else:
            columns[name] = [stack(value) for value in values]
    return columns


def split(key: str, known: Map, count: int) -> list[str]:
    """Return the ``count`` parts of a key: commas that are too many belong to its first text."""
    parts = key.split(",") if count > 1 else [key]
    extra = len(parts) - count
    if extra < 0:
        return parts + [""] * -extra
    at = known.texts.index(True) if True in known.texts else 0
    return [*parts[:at], ",".join(parts[at : at + extra + 1]), *parts[at + extra + 1 :]]


def stack(text: str) -> str:
    """Return a stack as ``outermost;…;innermost``, any other text as it is."""
    if not text.startswith("\n"):
        return text
    frames = [FRAME.sub("", line.strip()) for line in text.strip().splitlines()]
    return ";".join(frame.replace(";", ":") for frame in reversed(frames))
