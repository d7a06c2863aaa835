# SPDX-License-Identifier: MIT
"""Values as they came one by one → a column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ..rows.columns import Array, Column


def column(values: list[Any]) -> tuple[Column, Array | None]:
    """Return a column of numbers or text, and which values are missing (None: none is)."""
    missing = np.array([value is None for value in values], bool)
    absent = missing if missing.any() else None
    there = [value for value in values if value is not None]
    if all(isinstance(value, (int, bool)) for value in there):
        return _integers([value or 0 for value in values]), absent
    if all(isinstance(value, (int, float)) for value in there) and absent is None:
        return np.array(values, np.float64), None
    texts = [None if value is None else str(value) for value in values]
    return pa.array(texts, pa.string()), None


def _integers(values: list[int]) -> Array:
    if not values or (min(values) >= -(1 << 63) and max(values) < 1 << 63):
        return np.array(values, np.int64)
    if min(values) >= 0 and max(values) < 1 << 64:
        return np.array(values, np.uint64)
    return np.array(values, object)
