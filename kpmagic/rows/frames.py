# SPDX-License-Identifier: MIT
"""Columns → tables of pandas, polars and Arrow, copying no more than each of them asks for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import CellError, MissingDependency
from .columns import Array, Column

INT64_AND_UINT64 = pa.decimal128(20, 0)
ENGINES = ("pandas", "polars", "arrow")


@dataclass
class Table:
    """Columns of one length; ``missing`` marks the rows that have no value in a column.

    Text columns named in ``texts`` become strings, the others categories.
    """

    columns: dict[str, Column]
    rows: int
    missing: dict[str, Array] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)

    def add(self, name: str, column: Column, is_text: bool = False) -> None:
        """Append a column. An emitted one takes the place of a header's of the same name."""
        self.columns[name] = column
        if is_text:
            self.texts.add(name)

    def add_names(self, name: str, names: list[str], codes: Array) -> None:
        """Append a column of ``names`` by their numbers; several numbers may share a name."""
        words = list(dict.fromkeys(names))
        numbers = np.array([words.index(each) for each in names], np.int32)
        self.add(name, pa.DictionaryArray.from_arrays(
            pa.array(numbers[codes]), pa.array(words, pa.string())))  # fmt: skip

    def add_parts(
        self, name: str, parts: list[tuple[Array, Column]], is_text: bool = False
    ) -> None:
        """Append a column that some rows have: ``parts`` are row numbers and their values."""
        present = np.zeros(self.rows, bool)
        for where, _ in parts:
            present[where] = True
        self.add(name, _spread(parts, self.rows), is_text)
        if not present.all():
            self.missing[name] = ~present


def _spread(parts: list[tuple[Array, Column]], rows: int) -> Column:
    """Return a column of ``rows`` values with each part's at its rows."""
    shapes = {values.shape[1:] if isinstance(values, np.ndarray) else None for _, values in parts}
    if len(shapes) == 1 and None not in shapes:
        return _spread_numbers(parts, rows)
    places = np.full(rows, -1, np.int64)
    start = 0
    for where, values in parts:
        places[where] = np.arange(start, start + len(values))
        start += len(values)
    if all(is_lists(values) for _, values in parts):
        lists = pa.concat_arrays([values for _, values in parts])
        return lists.take(pa.array(places, mask=places < 0))
    taken = pa.concat_arrays([_texts(values) for _, values in parts]).take(
        pa.array(places, mask=places < 0)
    )
    return taken.dictionary_encode()


def is_lists(column: Column) -> bool:
    """Whether each value is a list of names: a stack."""
    return not isinstance(column, np.ndarray) and bool(pa.types.is_list(column.type))


def _texts(values: Column) -> Any:
    """Return a column as text, for rows whose other ones do not hold numbers of its shape."""
    if not isinstance(values, np.ndarray):
        return values.cast(pa.string())
    if values.ndim == 1:
        return pa.array(values.astype(str)).cast(pa.string())
    return pa.array([str(row) for row in values.tolist()], pa.string())


def _spread_numbers(parts: list[tuple[Array, Array]], rows: int) -> Array:
    dtype = np.result_type(*(values.dtype for _, values in parts))
    if dtype.kind not in "iub":  # signed and unsigned 64 bits: no common type but Python's
        dtype = np.dtype(object)
    full = np.zeros((rows, *parts[0][1].shape[1:]), dtype)
    for where, values in parts:
        # among numbers of 64 bits a bool is one too, as it is among smaller ones
        a_bool = dtype.kind == "O" and values.dtype == bool
        full[where] = values.astype(np.uint8) if a_bool else values
    return full


def to_engine(table: Table, engine: str) -> Any:
    """Return ``table`` as ``engine``'s. Raises CellError, MissingDependency."""
    if engine not in ENGINES:
        raise CellError(f"no engine {engine!r}", hint=f"one of {', '.join(ENGINES)}")
    if engine == "pandas":
        return _to_pandas(table)
    arrow = to_arrow(table)
    if engine == "arrow":
        return arrow
    try:
        polars = importlib.import_module("polars")
    except ImportError:
        raise MissingDependency(
            "the package 'polars' is not installed", hint="pip install 'kpmagic[polars]'"
        ) from None
    return polars.from_arrow(arrow)


def to_arrow(table: Table) -> Any:
    """Return a pyarrow.Table; numbers are not copied."""
    arrays = {name: _arrow(column, table.missing.get(name), name in table.texts)
              for name, column in table.columns.items()}  # fmt: skip
    return pa.table(arrays)


def _arrow(column: Column, missing: Array | None, is_text: bool) -> Any:
    if not isinstance(column, np.ndarray):
        return column.cast(pa.string()) if is_text else column
    if column.ndim == 2:
        flat = pa.array(np.ascontiguousarray(column).reshape(-1))
        lists = pa.FixedSizeListArray.from_arrays(flat, column.shape[1])
        return lists if missing is None else lists.take(
            pa.array(np.arange(len(column)), mask=missing))  # fmt: skip
    kind = INT64_AND_UINT64 if column.dtype == object else None
    return pa.array(column, kind, mask=missing)


def _to_pandas(table: Table) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {name: _series(column, table.missing.get(name), name in table.texts)
         for name, column in table.columns.items()},
        index=pd.RangeIndex(table.rows),
        copy=False,
    )  # fmt: skip


def handed_out(frame: Any) -> Any:
    """Return ``frame`` for the user to write to: pandas 3 copies a column when that happens."""
    import pandas as pd

    return frame.copy(deep=not _is_3(pd))


def _is_3(pandas: Any) -> bool:
    """Whether this pandas copies on write and has strings of its own."""
    return int(pandas.__version__.split(".")[0]) >= 3


def _series(column: Column, missing: Array | None, is_text: bool) -> Any:
    """Return a pandas array or Series that shares memory with ``column`` where it can."""
    import pandas as pd

    if not isinstance(column, np.ndarray):
        if is_text:
            kind = "str" if _is_3(pd) else pd.StringDtype("pyarrow")
            return pd.array(column.cast(pa.string()), dtype=kind)
        if is_lists(column):
            return np.fromiter(column.to_pylist(), object, len(column))
        codes = column.indices.fill_null(-1) if column.null_count else column.indices
        return pd.Categorical.from_codes(codes.to_numpy(), column.dictionary.to_pylist())
    if column.ndim == 2 or column.dtype == object:
        values = np.empty(len(column), object)
        values[:] = list(column) if column.ndim == 2 else column
        if missing is not None:
            values[missing] = None
        return values
    if missing is None:
        return column
    masked = pd.arrays.BooleanArray if column.dtype == bool else pd.arrays.IntegerArray
    return masked(column, missing)
