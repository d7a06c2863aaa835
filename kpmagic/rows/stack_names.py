# SPDX-License-Identifier: MIT
"""Addresses of call stacks → functions' names, whole columns at a time.

A stack is a row of addresses, the innermost first and 0 behind the last; a user's stack
(``ustack``) has the process id in front. All but the innermost are return addresses, and those
of a call that never returns lie behind their function's end: they are looked up a byte before.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..model import CType
from .columns import Array

STACKS = ("kstack", "ustack")
MOST = 127  # linux/perf_event.h: PERF_MAX_STACK_DEPTH
LookUp = Callable[[int, int], str]
"""Called with a process id (0: the kernel) and an address; returns a name, ``""`` for none."""


@dataclass(frozen=True)
class Walks:
    """How the walks of one column's stacks went.

    Of ``all``, ``empty`` found no caller, and ``cut`` have more than there was room for.
    """

    all: int = 0
    empty: int = 0
    cut: int = 0

    def __add__(self, other: Walks) -> Walks:
        return Walks(self.all + other.all, self.empty + other.empty, self.cut + other.cut)

    def remarks(self, name: str, ctype: CType) -> list[str]:
        """Return what the user must know of a column called ``name``, a line each.

        That a stack is no longer than the user has asked for needs no word.
        """
        found = []
        if self.empty:
            why = " (kernel threads have none)" if ctype.kind == "ustack" else ""
            found.append(f"{name}: {self.empty:,} of {self.all:,} stacks are empty, there was "
                         f"nothing to walk{why}")  # fmt: skip
        if self.cut and ctype.name.endswith("()"):
            found.append(f"{name}: {self.cut:,} of {self.all:,} stacks are cut at {depth(ctype)} "
                         f"frames; {ctype.kind}({MOST}) has room for more")  # fmt: skip
        return found


def depth(ctype: CType) -> int:
    """Return how many frames a stack has room for."""
    return ctype.count - (ctype.kind == "ustack")


def walks(kind: str, stacks: Array) -> Walks:
    """Return how the walks of these stacks went."""
    _, addresses = _cut(kind, stacks)
    empty, cut = addresses[:, 0] == 0, addresses[:, -1] != 0
    return Walks(len(stacks), int(empty.sum()), int(cut.sum()))


def no_name(pid: int, address: int) -> str:
    """Know no address."""
    return ""


class StackNames:
    """Names of addresses: what ``look_up`` says, once for each; ``known`` keeps it for later."""

    def __init__(
        self, look_up: LookUp = no_name, known: MutableMapping[str, str] | None = None
    ) -> None:
        self._look_up = look_up
        self.known: MutableMapping[str, str] = {} if known is None else known

    def lists(self, kind: str, stacks: Array) -> pa.Array:
        """Return a list of names for each stack, the innermost first."""
        pids, addresses = _cut(kind, stacks)
        alive = np.logical_and.accumulate(addresses != 0, axis=1)
        offsets = np.zeros(len(stacks) + 1, np.int32)
        np.cumsum(alive.sum(axis=1), out=offsets[1:])
        looked = np.where(np.arange(addresses.shape[1]) > 0, addresses - np.uint64(1), addresses)
        pairs = np.stack([np.broadcast_to(pids[:, None], looked.shape)[alive], looked[alive]], 1)
        distinct, places = np.unique(pairs, axis=0, return_inverse=True)
        names = pa.array([self.name(pid, at) for pid, at in distinct.tolist()], pa.string())
        values = names.take(pa.array(places.reshape(-1).astype(np.int64)))
        return pa.ListArray.from_arrays(pa.array(offsets), values)

    def folded(self, kind: str, stacks: Array) -> pa.Array:
        """Return ``outermost;…;innermost`` for each stack, as Arrow dictionary codes."""
        distinct, places = np.unique(stacks, axis=0, return_inverse=True)
        texts = [";".join(names[::-1]) for names in self.lists(kind, distinct).to_pylist()]
        codes = pa.array(places.reshape(-1).astype(np.int64))
        return pa.array(texts, pa.string()).take(codes).dictionary_encode()

    def name(self, pid: int, address: int) -> str:
        """Return the name of the function an address is in, or the address."""
        key = f"{pid}:{address:x}"
        name = self.known.get(key)
        if name is None:
            found = self._look_up(pid, address).replace(";", ":") or f"{address:#x}"
            # a library's name may hold bytes that are no text, and a table takes none
            name = self.known[key] = found.encode("utf-8", "backslashreplace").decode()
        return name


def _cut(kind: str, stacks: Array) -> tuple[Array, Array]:
    """Return process ids and addresses."""
    words = stacks.astype(np.uint64, copy=False)
    if kind == "ustack":
        return words[:, 0], words[:, 1:]
    return np.zeros(len(words), np.uint64), words
