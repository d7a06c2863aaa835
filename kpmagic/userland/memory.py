# SPDX-License-Identifier: MIT
"""Where the code of every process lay while a run went on, from the agent's MAPS frames."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ANONYMOUS = "[anon]"  # made while it ran, by a just-in-time compiler
NameIn = Callable[["File", int], str]
"""Called with a file and an offset in it; returns a function's name, ``""`` for none."""


class File(NamedTuple):
    """A file of the target; ``identity`` is as in the wire's MAPS."""

    path: str
    identity: str


class Mapping(NamedTuple):
    """``size`` bytes of a file, from ``offset`` on, at ``start``."""

    start: int
    size: int
    offset: int
    file: File


@dataclass
class _Program:
    """What a process mapped between one exec or fork and the next."""

    mappings: list[Mapping] = field(default_factory=list)

    def find(self, address: int) -> Mapping | None:
        """Return the newest mapping that holds an address."""
        found = (each for each in reversed(self.mappings) if 0 <= address - each.start < each.size)
        return next(found, None)


class Memory:
    """The memory of all processes of one run: fed by the reader thread, asked by anybody."""

    def __init__(self, name_in: NameIn) -> None:
        self.lost = 0
        self._name_in = name_in
        self._files: dict[int, File] = {}
        self._events: list[tuple[int, int, list[Any]]] = []  # in the order of time
        self._programs: dict[int, list[_Program]] | None = None
        self._lock = threading.Lock()

    def feed(self, message: dict[str, Any]) -> None:
        """Take a MAPS frame. Raises KeyError, TypeError, ValueError."""
        with self._lock:
            for number, path, identity in message["files"]:
                self._files[int(number)] = File(str(path), str(identity))
            for event in message["events"]:
                # of several at one time the order of arrival counts
                insort(self._events, (int(event[1]), len(self._events), list(event)))
            self.lost = int(message["lost"])
            self._programs = None

    def name(self, pid: int, address: int) -> str:
        """Return the function of a process that an address is in, else ``[library]``, else ``""``.

        Which of several programs of one process it was is told by the address alone: they are
        loaded at random places.
        """
        for program in reversed(self._of(pid)):
            found = program.find(address)
            if found is not None:
                return self._in(found, address)
        return ""

    def _in(self, found: Mapping, address: int) -> str:
        path = found.file.path
        if not path.startswith("/") or path.startswith("//"):
            return path if path.startswith("[") else ANONYMOUS
        name = self._name_in(found.file, address - found.start + found.offset)
        return name or f"[{path.rpartition('/')[2]}]"

    def _of(self, pid: int) -> list[_Program]:
        with self._lock:
            if self._programs is None:
                self._programs = self._replayed()
            return self._programs.get(pid, [])

    def _replayed(self) -> dict[int, list[_Program]]:
        """Return the programs of each process, the newest last."""
        programs: dict[int, list[_Program]] = {}
        for _, _, (kind, _, pid, *rest) in self._events:
            if kind == "fork":
                parent = programs.get(rest[0], [_Program()])[-1]
                programs.setdefault(pid, []).append(_Program(list(parent.mappings)))
            elif kind == "exec":
                programs.setdefault(pid, []).append(_Program())
            else:
                start, size, offset, number = rest
                mapping = Mapping(start, size, offset, self._files[number])
                programs.setdefault(pid, [_Program()])[-1].mappings.append(mapping)
        return programs
