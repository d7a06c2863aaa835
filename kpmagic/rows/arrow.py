# SPDX-License-Identifier: MIT
"""Tables of Arrow, as a recording holds them, back to the columns they were made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import RecordingError
from .columns import Array, Column
from .frames import INT64_AND_UINT64, Table

NANOSECONDS = pa.timestamp("ns")
NUMBERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
           pa.uint64(), pa.bool_(), pa.float64())  # fmt: skip
CATEGORY = pa.dictionary(pa.int32(), pa.string())


def is_known(kind: Any) -> bool:
    """Whether a column of this Arrow type is one that frames.to_arrow makes."""
    if pa.types.is_fixed_size_list(kind):
        return kind.value_type in NUMBERS
    if pa.types.is_list(kind):
        return bool(kind.value_type == pa.string())
    return kind in (*NUMBERS, NANOSECONDS, INT64_AND_UINT64, CATEGORY, pa.string())


def check(schema: Any) -> None:
    """Refuse a schema that no recording has. Raises RecordingError."""
    for field in schema:
        if not is_known(field.type):
            raise RecordingError(f"its column {field.name!r} has a type that no recording has")
    if len(set(schema.names)) != len(schema.names):
        raise RecordingError("it has two columns of one name")


def from_arrow(arrow: Any) -> Table:
    """Return the columns of a pyarrow.Table, numbers without a copy where they lie in one piece.

    Raises RecordingError for what frames.to_arrow does not make.
    """
    check(arrow.schema)
    table = Table({}, arrow.num_rows)
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        whole = _whole(column)
        if _is_odd(whole):
            raise RecordingError(f"its column {name!r} holds what no recording's does")
        table.add(name, _column(whole), whole.type == pa.string())
        if whole.null_count and isinstance(table.columns[name], np.ndarray):
            table.missing[name] = whole.is_null().to_numpy(zero_copy_only=False)
    return table


def _is_odd(whole: Any) -> bool:
    """Whether a column has a word twice or a hole where frames.to_arrow leaves none."""
    if pa.types.is_dictionary(whole.type):
        words = whole.dictionary
        return bool(words.null_count or len(words.unique()) < len(words))
    if pa.types.is_list(whole.type):
        return bool(whole.flatten().null_count)
    return bool(whole.null_count and whole.type in (NANOSECONDS, pa.float64()))


def _whole(column: Any) -> Any:
    """Return a column in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    whole = column.combine_chunks()
    # older Arrow returns a chunked array when there is nothing in it
    return whole if isinstance(whole, pa.Array) else whole.chunk(0)


def _column(whole: Any) -> Column:
    kind = whole.type
    if kind == pa.string() or pa.types.is_dictionary(kind) or pa.types.is_list(kind):
        return whole
    if kind == INT64_AND_UINT64:
        numbers = np.empty(len(whole), object)
        numbers[:] = [0 if each is None else int(each) for each in whole.to_pylist()]
        return numbers
    if pa.types.is_fixed_size_list(kind):
        return _arrays(whole)
    return _numbers(whole)


def _arrays(whole: Any) -> Array:
    """Return fixed-size lists as a matrix."""
    size = whole.type.list_size
    inner = whole.values.slice(whole.offset * size, len(whole) * size)
    return _numbers(inner).reshape(len(whole), size)


def _numbers(whole: Any) -> Array:
    if whole.null_count:
        whole = whole.fill_null(False if whole.type == pa.bool_() else pa.scalar(0, whole.type))
    # Arrow keeps a bool in a bit, numpy in a byte
    numbers: Array = whole.to_numpy(zero_copy_only=False)
    return numbers
