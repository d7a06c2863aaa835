# SPDX-License-Identifier: MIT
"""Call stacks in a run: rows with a column of lists, or aggregates keyed by folded text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CellError
from .seen import Seen, find, numbers

if TYPE_CHECKING:
    import pandas as pd

Stack = tuple[str, ...]
HINT = "emit(kstack()) records them, count(by = kstack()) counts them"


@dataclass(frozen=True)
class Stacks:
    """Stacks, the outermost caller first, each with its weight; ``what`` was weighed."""

    name: str
    what: str
    weights: dict[Stack, float]


def stacks(seen: Seen, column: str = "", value: str = "", label: str = "") -> Stacks:
    """Return the stacks of a run, weighed by rows, by the sum of ``value``, or by an aggregate.

    ``column`` is the one that holds stacks, ``label`` the aggregate; without them the first
    that does. Raises CellError.
    """
    frame = seen.df()
    if not label and len(frame):
        names = [column] if column else list(map(str, frame.columns))
        for name in names:
            if is_stacks(find(frame, name)):
                return Stacks(name, value or "rows", of_rows(frame, name, value))
        if column:
            raise CellError(f"{column!r} holds no stacks", hint=HINT)
    for text, table in seen.aggregates.items():
        key = _key(table, column)
        if key and label in ("", text):
            return Stacks(text, text, of_table(table, key))
    raise CellError(f"{seen.name} has no stacks" + (f" in {label!r}" if label else ""), hint=HINT)


def are_keys(seen: Seen) -> bool:
    """Whether an aggregate is keyed by stacks."""
    return any(_key(table, "") for table in seen.aggregates.values())


def is_stacks(column: pd.Series) -> bool:
    """Whether a column holds lists of names, the innermost function first."""
    if column.dtype != object:
        return False
    lists = (each for each in column if isinstance(each, (list, tuple, np.ndarray)) and len(each))
    return isinstance(next(lists, [None])[0], str)


def folded(stack: Iterable[str]) -> str:
    """Return ``outermost;…;innermost`` on one line."""
    return ";".join(" ".join(name.replace(";", ":").split()) or "?" for name in stack)


def of_rows(frame: pd.DataFrame, name: str, value: str) -> dict[Stack, float]:
    """Return the weight of each stack of a column."""
    weights = numbers(find(frame, value)) if value else np.ones(len(frame))
    found: defaultdict[Stack, float] = defaultdict(float)
    for stack, weight in zip(frame[name], np.nan_to_num(weights).tolist(), strict=True):
        if stack is not None and len(stack):
            found[tuple(map(str, stack[::-1]))] += weight
    return dict(found)


def _key(table: pd.DataFrame, column: str) -> str:
    """Return the key that holds stacks, or ``""``: named so, or text with its separator."""
    for name in [column] if column in table.columns else list(map(str, table.columns)):
        texts = table[name]
        if name.endswith("stack") or (len(table) and _is_folded(texts)):
            return name
    return ""


def _is_folded(texts: pd.Series) -> bool:
    first = texts.iloc[0]
    return isinstance(first, str) and ";" in first and is_path(first)


def is_path(text: str) -> bool:
    """Whether a text is functions' names with ``;`` between them."""
    return all(name and " " not in name for name in text.split(";"))


def of_table(table: pd.DataFrame, key: str) -> dict[Stack, float]:
    """Return the weight of each stack of an aggregate."""
    amount = "value" if "value" in table.columns else "count"
    found: defaultdict[Stack, float] = defaultdict(float)
    for text, weight in zip(table[key].astype(str), table[amount].tolist(), strict=True):
        if text:
            found[tuple(text.split(";"))] += weight
    return dict(found)
