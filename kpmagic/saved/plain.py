# SPDX-License-Identifier: MIT
"""Frozen values as plain JSON and back; what comes back is checked against the types it claims."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import RecordingError

T = TypeVar("T")
SIMPLE = (int, float, str, bool)


def to_plain(value: Any) -> Any:
    """Return a value of dataclasses, tuples, sets and mappings as what JSON has."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name))
                for field in dataclasses.fields(value)}  # fmt: skip
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(to_plain, value))
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[T], plain: Any, where: str = "") -> T:
    """Return the ``kind`` that `to_plain` turned into ``plain``.

    A field that is missing has its default, one that is unknown is left out.
    Raises RecordingError.
    """
    value: T = _value(kind, plain, where or kind.__name__)
    return value


def _value(kind: Any, plain: Any, where: str) -> Any:
    if kind is Any:
        return plain
    if kind in SIMPLE:
        return _simple(kind, plain, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, plain, where)
    shape = typing.get_origin(kind)
    if shape not in SHAPES:
        raise TypeError(f"{kind} has no plain form")
    return SHAPES[shape](typing.get_args(kind), plain, where)


def _simple(kind: Any, plain: Any, where: str) -> Any:
    if kind is float and type(plain) is int:
        return float(plain)
    if type(plain) is not kind:
        raise RecordingError(f"{where} is not {kind.__name__}")
    return plain


def _dataclass(kind: Any, plain: Any, where: str) -> Any:
    known = _hints(kind)
    given = {name: _value(known[name], item, f"{where}.{name}")
             for name, item in _object(plain, where).items() if name in known}  # fmt: skip
    try:
        return kind(**given)
    except TypeError:
        missing = [field.name for field in dataclasses.fields(kind) if field.name not in given]
        raise RecordingError(f"{where} lacks {', '.join(missing)}") from None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _object(plain: Any, where: str) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise RecordingError(f"{where} is not an object")
    return plain


def _list(plain: Any, where: str) -> list[Any]:
    if not isinstance(plain, list):
        raise RecordingError(f"{where} is not a list")
    return plain


def _tuple(kinds: tuple[Any, ...], plain: Any, where: str) -> Any:
    items = _list(plain, where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_value(kinds[0], item, f"{where}[{at}]") for at, item in enumerate(items))
    if len(items) != len(kinds):
        raise RecordingError(f"{where} has {len(items)} items, not {len(kinds)}")
    pairs = zip(kinds, items, strict=True)
    return tuple(_value(kind, item, f"{where}[{at}]") for at, (kind, item) in enumerate(pairs))


def _set(kinds: tuple[Any, ...], plain: Any, where: str) -> Any:
    return frozenset(_value(kinds[0], item, where) for item in _list(plain, where))


def _mapping(kinds: tuple[Any, ...], plain: Any, where: str) -> Any:
    return {_key(kinds[0], key, where): _value(kinds[1], item, f"{where}[{key!r}]")
            for key, item in _object(plain, where).items()}  # fmt: skip


def _key(kind: Any, key: str, where: str) -> Any:
    if kind is str:
        return key
    try:
        return kind(key)
    except ValueError:
        raise RecordingError(f"{where} has a key that is not {kind.__name__}") from None


def _union(kinds: tuple[Any, ...], plain: Any, where: str) -> Any:
    (kind,) = (each for each in kinds if each is not types.NoneType)
    return None if plain is None else _value(kind, plain, where)


def _literal(words: tuple[Any, ...], plain: Any, where: str) -> Any:
    if plain not in words:
        raise RecordingError(f"{where} is none of {', '.join(map(str, words))}")
    return plain


SHAPES: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    tuple: _tuple,
    frozenset: _set,
    Mapping: _mapping,
    dict: _mapping,
    types.UnionType: _union,
    typing.Union: _union,
    typing.Literal: _literal,
}
