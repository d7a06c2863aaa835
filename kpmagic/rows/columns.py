# SPDX-License-Identifier: MIT
"""Bytes of one field of many records → a column, whole batches at a time.

A column in memory is a numpy array, or for text an Arrow array of dictionary codes, so that no
step from ring buffer to table runs Python code for each record.
"""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..record import CType, Field

Array = npt.NDArray[Any]
Column = Any  # Array, or a pyarrow.DictionaryArray of codes and words
MAX_ERRNO = 4095  # linux/err.h
# include/linux/errno.h: errors that do not leave the kernel, beside those that do; of two names
# the kernel's
ERRORS = {
    **errno.errorcode, 11: "EAGAIN", 35: "EDEADLK", 95: "EOPNOTSUPP", 133: "EHWPOISON",
    512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK", 517: "EPROBE_DEFER", 518: "EOPENSTALE", 519: "ENOPARAM",
    521: "EBADHANDLE", 522: "ENOTSYNC", 523: "EBADCOOKIE", 524: "ENOTSUPP", 525: "ETOOSMALL",
    526: "ESERVERFAULT", 527: "EBADTYPE", 528: "EJUKEBOX", 529: "EIOCBQUEUED",
    530: "ERECALLCONFLICT", 531: "ENOGRACE",
}  # fmt: skip


def dtype_of(ctype: CType) -> np.dtype[Any]:
    """Return the numpy type of the bytes a field occupies."""
    match ctype.kind:
        case "string":
            return np.dtype((np.void, ctype.size))
        case "array" | "kstack" | "ustack":
            return np.dtype((_number(ctype.size // ctype.count, ctype.signed), (ctype.count,)))
        case "bool":
            return _number(ctype.size, signed=False)
        case _:
            return _number(ctype.size, ctype.signed)


def _number(size: int, signed: bool) -> np.dtype[Any]:
    return np.dtype(f"<{'i' if signed else 'u'}{size}")


def record_dtype(fields: tuple[Field, ...], start: int, stride: int) -> np.dtype[Any]:
    """Return the structured type of records every ``stride`` bytes, fields from byte ``start``."""
    return np.dtype(
        {
            "names": [f"f{index}" for index in range(len(fields))],
            "formats": [dtype_of(field.type) for field in fields],
            "offsets": [start + field.offset for field in fields],
            "itemsize": stride,
        }
    )


def decode(ctype: CType, raw: Array) -> Column:
    """Return the column in ``raw``, one field of a batch of records, as memory of its own."""
    match ctype.kind:
        case "string":
            return text_column(raw, ctype.size)
        case "enum":
            return enum_column(raw, ctype)
        case "errno":
            return errno_column(raw)
        case "bool":
            return np.not_equal(raw, 0)
        case _:
            return raw.copy()


def empty(ctype: CType) -> Column:
    """Return the column of no records."""
    return decode(ctype, np.empty(0, dtype_of(ctype)))


def text_column(raw: Array, size: int) -> pa.Array:
    """Return NUL-ended strings as dictionary codes; bytes that are not UTF-8 become ``\\xff``."""
    packed = np.ascontiguousarray(raw)
    codes, words = _encode(packed, size)
    # what lies behind the NUL is not cleared by the kernel: equal strings may have differed there
    cells = words.view(np.uint8).reshape(len(words), size)
    alive = np.logical_and.accumulate(cells != 0, axis=1)
    strings = _strings(cells[alive], alive.sum(axis=1, dtype=np.int32))
    if len(strings) == 0:
        return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    merged = strings.dictionary_encode()
    # one lookup more: code of the raw bytes → code of the string they mean
    return pa.DictionaryArray.from_arrays(merged.indices.take(codes), merged.dictionary)


def _encode(packed: Array, size: int) -> tuple[pa.Array, Array]:
    """Return codes and distinct words of fixed-size byte strings."""
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(size), len(packed), [None, pa.py_buffer(packed)]
    ).dictionary_encode()
    words = fixed.dictionary
    start = words.offset * size
    data = np.frombuffer(words.buffers()[1], np.uint8)[start : start + len(words) * size] \
        if len(words) else np.empty(0, np.uint8)  # fmt: skip
    return fixed.indices, data.view(np.dtype((np.void, size)))


def _strings(data: Array, lengths: Array) -> pa.Array:
    """Return an Arrow string array of the bytes ``data`` cut into ``lengths``."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    strings = pa.StringArray.from_buffers(len(lengths), buffers[1], buffers[2])
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:  # not UTF-8: rare enough to go through Python, once a distinct string
        raw = pa.BinaryArray.from_buffers(pa.binary(), len(lengths), buffers)
        return pa.array([word.decode(errors="backslashreplace") for word in raw.to_pylist()],
                        pa.string())  # fmt: skip
    return strings


def enum_column(raw: Array, ctype: CType) -> pa.Array:
    """Return an enum's names as dictionary codes; a value without a name stands as its number."""
    values, codes = np.unique(raw, return_inverse=True)
    names = [ctype.enumerators.get(int(value), str(int(value))) for value in values]
    return pa.array(names, pa.string()).take(pa.array(codes.astype(np.int32))).dictionary_encode()


def errno_column(raw: Array) -> pa.Array:
    """Return errors' names (``ENOENT`` for -2) as dictionary codes; other numbers are ``""``."""
    values, codes = np.unique(raw, return_inverse=True)
    names = [ERRORS.get(-int(value), f"E{-int(value)}") if -MAX_ERRNO <= value < 0 else ""
             for value in values]  # fmt: skip
    return pa.array(names, pa.string()).take(pa.array(codes.astype(np.int32))).dictionary_encode()


def join(pieces: list[Column]) -> Column:
    """Return the pieces of one column as one."""
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], np.ndarray):
        return np.concatenate(pieces)
    whole = pa.chunked_array(pieces).unify_dictionaries().combine_chunks()
    # older Arrow returns a chunked array when there is nothing in it
    return whole if isinstance(whole, pa.Array) else whole.chunk(0)
