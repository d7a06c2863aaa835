# SPDX-License-Identifier: MIT
"""Per-CPU maps of aggregations → tables: whole maps at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RecordingError
from ..record import Aggregate
from .columns import Array, Column, decode, record_dtype
from .frames import Table, to_engine
from .stack_names import STACKS, StackNames, Walks, depth

if TYPE_CHECKING:
    import pandas as pd

HISTOGRAMS = ("hist", "lhist")
INT64 = np.iinfo(np.int64)
UNKEYED_ZERO = ("count", "sum")
_VALUE = np.dtype([("n", "<u8"), ("v", "<i8")])


def decode_all(
    aggregates: Sequence[Aggregate],
    index: Iterable[Mapping[str, Any]],
    blob: bytes,
    cpus: int,
    names: StackNames | None = None,
    untold: bytes | None = b"",
) -> dict[str, pd.DataFrame]:
    """Return label → table for maps that lie in ``blob`` as ``index`` says (agent/wire.py).

    ``names`` turn the addresses of stacks into functions. A map that the index lacks is
    ``untold``: without an entry, or (None) nobody knows. Raises RecordingError.
    """
    pieces: dict[str, bytes] = {}
    start = 0
    for entry in index:
        size = int(entry["entries"]) * (int(entry["key_size"]) + cpus * _VALUE.itemsize)
        pieces[str(entry["map"])] = blob[start : start + size]
        start += size
    if start != len(blob):
        raise RecordingError(f"aggregates take {start} bytes, {len(blob)} came")
    return {each.label: table(each, pieces.get(each.map, untold), cpus, names)
            for each in aggregates}  # fmt: skip


def table(
    aggregate: Aggregate, told: bytes | None, cpus: int, names: StackNames | None = None
) -> pd.DataFrame:
    """Return one aggregation's table: keys, then ``count``, ``value`` or ``low, high, count``.

    Of what nobody has ``told`` (None) it is empty, where it else may be a row with 0.
    """
    data = told or b""
    entry = np.dtype((np.void, aggregate.key_size + cpus * _VALUE.itemsize))
    entries = np.frombuffer(data, entry)
    size = len(entries)
    keys = _keys(aggregate, data, entry.itemsize, names or StackNames())
    values = np.frombuffer(data, np.dtype({"names": ["cpu"], "formats": [(_VALUE, (cpus,))],
                                           "offsets": [aggregate.key_size],
                                           "itemsize": entry.itemsize}))["cpu"]  # fmt: skip
    shown = Table({}, size)
    for field in aggregate.keys:
        shown.add(field.name, keys[field.name], field.type.kind in ("string", *STACKS))
    buckets = _buckets(aggregate, data, entry.itemsize)
    if any(field.type.kind in STACKS for field in aggregate.keys):
        shown, buckets, values = _merged(aggregate, shown, buckets, values)
    for name, column in _values(aggregate, buckets, values).items():
        shown.add(name, column)
    frame: pd.DataFrame = to_engine(shown, "pandas")
    if told is not None and not size and not aggregate.keys and aggregate.function in UNKEYED_ZERO:
        return _zero(aggregate)
    order = [*keys, "low"] if aggregate.function in HISTOGRAMS else list(keys)
    return _sorted(frame, order)


def remarks(aggregate: Aggregate, table: pd.DataFrame) -> list[str]:
    """Return what the user must know of a table: how many hits had a stack that is not there."""
    weights = table["count"] if "count" in table else np.ones(len(table), np.int64)
    found = []
    for key in aggregate.keys:
        if key.type.kind in STACKS:
            texts = table[key.name].astype(str)
            empty = int(weights[texts == ""].sum())
            cut = int(weights[(texts != "") & (texts.str.count(";") + 1 >= depth(key.type))].sum())
            found += Walks(int(weights.sum()), empty, cut).remarks(
                f"{aggregate.label}: {key.name}", key.type
            )
    return found


def _keys(
    aggregate: Aggregate, data: bytes, stride: int, names: StackNames
) -> dict[str, Column]:
    records = np.frombuffer(data, record_dtype(aggregate.keys, 0, stride)) \
        if aggregate.keys else None  # fmt: skip
    if records is None:
        return {}
    return {field.name: names.folded(field.type.kind, records[f"f{at}"])
            if field.type.kind in STACKS else decode(field.type, records[f"f{at}"])
            for at, field in enumerate(aggregate.keys)}  # fmt: skip


def _buckets(aggregate: Aggregate, data: bytes, stride: int) -> Array:
    """Return the number of each entry's bucket; 0 where there are none."""
    bucket: Array = np.frombuffer(data, np.dtype({"names": ["b"], "formats": ["<i4"],
                                                  "offsets": [aggregate.key_size - 8],
                                                  "itemsize": stride}))["b"]  # fmt: skip
    return bucket.astype(np.int64)


def _merged(
    aggregate: Aggregate, shown: Table, buckets: Array, values: Array
) -> tuple[Table, Array, Array]:
    """Return entries of one name as one: a function may call from two places.

    The CPUs of the entries that become one stand side by side.
    """
    import pandas as pd

    frame = to_engine(shown, "pandas").assign(_bucket=buckets)
    groups = frame.groupby(list(frame.columns), observed=True, sort=False, dropna=False)
    group, turn = groups.ngroup().to_numpy(), groups.cumcount().to_numpy()
    first = np.flatnonzero(turn == 0)
    width = int(turn.max(initial=0)) + 1
    side_by_side = np.zeros((len(first), width, values.shape[1]), values.dtype)
    side_by_side[group, turn] = values
    order = np.argsort(group[first])
    rows = pd.Index(first[order])
    kept = Table({}, len(rows))
    for field in aggregate.keys:
        column = shown.columns[field.name]
        taken = column[rows] if isinstance(column, np.ndarray) else column.take(rows.to_numpy())
        kept.add(field.name, taken, field.name in shown.texts)
    return kept, buckets[rows], side_by_side.reshape(len(rows), width * values.shape[1])


def _values(aggregate: Aggregate, buckets: Array, values: Array) -> dict[str, Column]:
    counts = values["n"].sum(axis=1, dtype=np.uint64).astype(np.int64)
    if aggregate.function in HISTOGRAMS:
        low, high = _bounds(aggregate, buckets)
        return {"low": low, "high": high, "count": counts}
    if aggregate.function == "count":
        return {"count": counts}
    return {"value": _value(aggregate, values, counts)}


def _value(aggregate: Aggregate, values: Array, counts: Array) -> Array:
    unsigned = aggregate.value is not None and not aggregate.value.signed
    cells = values["v"].view(np.uint64) if unsigned else values["v"]
    if aggregate.function == "sum":
        total: Array = cells.sum(axis=1, dtype=cells.dtype)
        return total
    if aggregate.function == "avg":
        # a sum in the kernel has wrapped or not; as a float it loses no more than its last digits
        mean: Array = cells.sum(axis=1, dtype=cells.dtype) / np.maximum(counts, 1)
        return mean
    hit = values["n"] > 0
    limits = np.iinfo(cells.dtype)
    if aggregate.function == "min":
        smallest: Array = np.where(hit, cells, limits.max).min(axis=1)
        return smallest
    largest: Array = np.where(hit, cells, limits.min).max(axis=1)
    return largest


def _bounds(aggregate: Aggregate, bucket: Array) -> tuple[Array, Array]:
    """Return the half-open interval [low, high) of each bucket, as bpf/body.h cuts them."""
    return _log2_bounds(bucket) if aggregate.function == "hist" else _linear(aggregate, bucket)


def _log2_bounds(bucket: Array) -> tuple[Array, Array]:
    """0 → [0, 1), b → [2^(b-1), 2^b), -b → the mirror of b's values."""
    size = np.abs(bucket)
    near = np.where(size > 0, np.left_shift(np.uint64(1), _shift(size - 1)), 0)
    # 2^64 does not fit: the last bucket ends at the largest number
    far = np.where(size > 63, ~np.uint64(0), np.left_shift(np.uint64(1), _shift(size)))
    if not len(bucket) or bucket.min() >= 0:
        wide = bool(len(bucket)) and bool(bucket.max() > 62)
        kind = np.uint64 if wide else np.int64
        return near.astype(kind), far.astype(kind)
    most = np.minimum(far - np.uint64(1), INT64.max).astype(np.int64)
    least = np.where(size > 63, INT64.min, -most)
    near, far = np.minimum(near, INT64.max), np.minimum(far, INT64.max)
    low = np.where(bucket < 0, least, near.astype(np.int64))
    high = np.where(bucket < 0, 1 - near.astype(np.int64), far.astype(np.int64))
    return low, high


def _shift(bits: Array) -> Array:
    return np.clip(bits, 0, 63).astype(np.uint64)


def _linear(aggregate: Aggregate, bucket: Array) -> tuple[Array, Array]:
    """0 → below ``low``, i → the i-th step, the last one → ``high`` and above."""
    last = -(-(aggregate.high - aggregate.low) // aggregate.step) + 1
    start = aggregate.low + (bucket - 1) * aggregate.step
    low = np.where(bucket <= 0, INT64.min, np.minimum(start, aggregate.high))
    high = np.where(bucket <= 0, aggregate.low,
                    np.minimum(start + aggregate.step, aggregate.high))  # fmt: skip
    return low, np.where(bucket >= last, INT64.max, high)


def _zero(aggregate: Aggregate) -> pd.DataFrame:
    import pandas as pd

    name = "count" if aggregate.function == "count" else "value"
    return pd.DataFrame({name: np.zeros(1, np.int64)})


def _sorted(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """Return the rows in order of keys and buckets; lists cannot be compared and stay."""
    usable = [name for name in order if name in frame and frame[name].dtype != object]
    if not usable:
        return frame
    return frame.sort_values(usable, kind="stable", ignore_index=True)
