# SPDX-License-Identifier: MIT
"""The tables that a body's count(), sum() … hist() calls feed: one for each label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from kpmagic.cell.handler import Column
from kpmagic.layout import end, place
from kpmagic.record import Aggregate

_HISTOGRAMS = ("hist", "lhist")
_NUMBERS = {"count": 0, "lhist": 4}
_NEEDS = {
    "count": "count() takes no value; give keys by name, such as by = comm",
    "lhist": "lhist takes a value, low, high and step; lhist(value, 0, 100, 10)",
}
# the columns of a table beside its keys
_SHOWN = {"count": ("count",)} | dict.fromkeys(_HISTOGRAMS, ("low", "high", "count"))
MAX_BUCKETS = 10_000
LEAST, MOST = -(1 << 63), (1 << 63) - 1  # s64 of bpf/body.h


class Aggregations:
    """All aggregations of a probe: calls with one label feed one table."""

    def __init__(self, cell: str) -> None:
        self.cell = cell
        self._by_label: dict[str, Aggregate] = {}

    def add(
        self,
        function: str,
        text: str,
        label: str,
        arguments: Sequence[str],
        value: Column | None,
        keys: Sequence[Column],
    ) -> Aggregate:
        """Return the aggregate a call feeds. Raises ValueError: what is wrong; what to do."""
        if len(arguments) != _NUMBERS.get(function, 1):
            raise ValueError(
                _NEEDS.get(
                    function,
                    f"{function} takes one value; give keys by name, "
                    f"such as {function}(value, by = comm)",
                )
            )
        if value is not None and (value.form != "value" or value.type.kind == "pointer"):
            raise ValueError(f"{function} needs a number, not '{value.type.name}'; cast it to one")
        fields = place((key.name, key.type) for key in keys)
        names = [field.name for field in fields]
        if len(set(names)) != len(names):
            raise ValueError("a key is named twice; give each its own name")
        taken = next((name for name in names if name in _SHOWN.get(function, ("value",))), "")
        if taken:
            raise ValueError(
                f"the table has a column '{taken}' of its own; "
                f"name the key otherwise, such as my_{taken}"
            )
        low, high, step = _bounds(arguments[1:]) if function == "lhist" else (0, 0, 1)
        made = Aggregate(
            f"kp_table_{len(self._by_label)}",
            _label(label) or text,
            function,
            fields,
            end(fields) + 8,
            value.type if value else None,
            low,
            high,
            step,
        )
        return self._same_or_new(made)

    def _same_or_new(self, made: Aggregate) -> Aggregate:
        known = self._by_label.setdefault(made.label, made)
        if replace(made, map=known.map) != known:
            raise ValueError(
                f"two different aggregations are labelled '{made.label}'; "
                'give each its own, with label = "name"'
            )
        return known


def _label(text: str) -> str:
    if not text:
        return ""
    try:
        label = json.loads(text)
    except ValueError:
        label = None
    if not isinstance(label, str) or not label:
        raise ValueError('a label is a text in double quotes; label = "name"')
    return label


def _bounds(texts: Sequence[str]) -> tuple[int, int, int]:
    try:
        low, high, step = (int(text.strip("()LU"), 0) for text in texts)
    except ValueError:
        raise ValueError(
            "lhist's low, high and step are numbers; lhist(value, 0, 100, 10)"
        ) from None
    if step < 1 or high <= low:
        raise ValueError("lhist needs low < high and a step above 0; lhist(value, 0, 100, 10)")
    if low < LEAST or max(high, step) > MOST:
        raise ValueError("lhist counts in 64 bits with a sign; hist has room for more")
    if (high - low) // step > MAX_BUCKETS:
        raise ValueError(f"lhist has more than {MAX_BUCKETS:,} buckets; take a larger step")
    return low, high, step
