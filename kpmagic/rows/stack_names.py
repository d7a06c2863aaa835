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

from ..record import CType
from .columns import Array
from .programs import Programs

STACKS = ("kstack", "ustack")
MOST = 127  # linux/perf_event.h: PERF_MAX_STACK_DEPTH
LookUp = Callable[[int, int, int], str]
"""Called with a process id (0: the kernel), an address and the number of one of the process's
programs; returns a name, ``""`` for none."""
PROCESS = np.uint64(32)  # bits for a process id in front of its program's number


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


def no_name(pid: int, address: int, program: int) -> str:
    """Know no address."""
    return ""


class StackNames:
    """Names of addresses: what ``look_up`` says, once for each; ``known`` keeps it for later.

    Where a process was several programs, as ``programs`` tells, a name is that of an address in
    one of them. What is asked without a time gets the newest that has the address, and its name
    is known by process and address alone to whoever knows no programs.
    """

    def __init__(
        self,
        look_up: LookUp = no_name,
        known: MutableMapping[str, str] | None = None,
        programs: Callable[[], Programs] = Programs,
    ) -> None:
        self._look_up = look_up
        self._programs = programs
        self._unsure: set[tuple[int, int]] = set()
        self.known: MutableMapping[str, str] = {} if known is None else known

    def lists(self, kind: str, stacks: Array, times: Array | None = None) -> pa.Array:
        """Return a list of names for each stack, the innermost first.

        ``times`` are those at which the stacks were taken, as `Programs` has them.
        """
        pids, addresses = _cut(kind, stacks)
        programs = self._programs()
        if times is not None:
            pids = pids | programs.numbers(pids, times) << PROCESS
        alive = np.logical_and.accumulate(addresses != 0, axis=1)
        offsets = np.zeros(len(stacks) + 1, np.int32)
        np.cumsum(alive.sum(axis=1), out=offsets[1:])
        looked = np.where(np.arange(addresses.shape[1]) > 0, addresses - np.uint64(1), addresses)
        pairs = np.stack([np.broadcast_to(pids[:, None], looked.shape)[alive], looked[alive]], 1)
        distinct, places = _distinct(pairs)
        bits = int(PROCESS)
        found = [self._newest(pid, at, programs.count(pid)) if times is None
                 else self._name(pid & (1 << bits) - 1, at, pid >> bits)
                 for pid, at in distinct.tolist()]  # fmt: skip
        names = pa.array(found, pa.string())
        return pa.ListArray.from_arrays(pa.array(offsets), names.take(places))

    def folded(self, kind: str, stacks: Array) -> pa.Array:
        """Return ``outermost;…;innermost`` for each stack, as Arrow dictionary codes."""
        distinct, places = _distinct(stacks)
        texts = [";".join(names[::-1]) for names in self.lists(kind, distinct).to_pylist()]
        return pa.array(texts, pa.string()).take(places).dictionary_encode()

    def remarks(self) -> list[str]:
        """Return what the user must know of names that were asked for without a time."""
        count = len(self._unsure)
        if not count:
            return []
        were = "address in stacks that are keys was" if count == 1 else \
            "addresses in stacks that are keys were"  # fmt: skip
        return [f"{count:,} {were} of several programs, one after the other, of one process: the "
                "newest's name is shown; emit(ustack()) has that of the program of its time"]

    def _newest(self, pid: int, address: int, count: int) -> str:
        """Return the name in the newest of ``count`` programs that has the address."""
        names = [self._name(pid, address, number) for number in range(1, count + 1)]
        found = [name for name in names if name != f"{address:#x}"]
        if not found:
            return self._name(pid, address, 0)
        if len(set(found)) > 1:
            self._unsure.add((pid, address))
        self.known[_key(pid, address)] = found[-1]
        return found[-1]

    def _name(self, pid: int, address: int, program: int) -> str:
        """Return the name of the function an address is in, or the address.

        ``program`` is 0 for a process that was only one.
        """
        key = _key(pid, address, program)
        name = self.known.get(key)
        if name is None:
            found = self._look_up(pid, address, program or 1).replace(";", ":")
            if program and not found:  # it may map something there yet
                return f"{address:#x}"
            # a library's name may hold bytes that are no text, and a table takes none
            name = (found or f"{address:#x}").encode("utf-8", "backslashreplace").decode()
            self.known[key] = name
        return name


def _key(pid: int, address: int, program: int = 0) -> str:
    return f"{pid}.{program}:{address:x}" if program else f"{pid}:{address:x}"


def _cut(kind: str, stacks: Array) -> tuple[Array, Array]:
    """Return process ids and addresses."""
    words = stacks.astype(np.uint64, copy=False)
    if kind == "ustack":
        return words[:, 0], words[:, 1:]
    return np.zeros(len(words), np.uint64), words


def _distinct(rows: Array) -> tuple[Array, pa.Array]:
    """Return the different rows, and for each of all which one it is: by hash, in C."""
    whole = np.ascontiguousarray(rows)
    bytes_of_row = pa.binary(whole.shape[1] * whole.itemsize)
    column = pa.Array.from_buffers(bytes_of_row, len(whole), [None, pa.py_buffer(whole)])
    encoded = column.dictionary_encode()
    found = encoded.dictionary
    values = np.frombuffer(found.buffers()[1], whole.dtype, len(found) * whole.shape[1])
    return values.reshape(-1, whole.shape[1]), encoded.indices
