# SPDX-License-Identifier: MIT
"""Where the code of every process lay while a run went on, from the agent's MAPS frames."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..rows.programs import Programs

ANONYMOUS = "[anon]"  # made while it ran, by a just-in-time compiler
LAST = "[vdso]"  # of what the kernel maps for a new program
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
    """What a process has mapped from one exec or fork to the next.

    ``former``: while an exec goes on, how many of the mappings are the program's before it.
    """

    began: int
    mappings: list[Mapping] = field(default_factory=list)
    former: int | None = None

    def find(self, address: int) -> Mapping | None:
        """Return the newest mapping that holds an address."""
        found = (each for each in reversed(self.mappings) if 0 <= address - each.start < each.size)
        return next(found, None)


class _Replay:
    """The programs of each process, the oldest first, told by events in the order of time."""

    def __init__(self) -> None:
        self.programs: dict[int, list[_Program]] = {}

    def step(self, when: int, kind: str, pid: int, what: Any = None) -> None:
        """Take one event; of a fork ``what`` is the parent, of a map the mapping."""
        if kind == "fork":
            parent = self.programs.get(what, [_Program(0)])[-1]
            self.programs.setdefault(pid, []).append(_Program(when, list(parent.mappings)))
            return
        programs = self.programs.setdefault(pid, [_Program(0)])
        if kind == "exec":
            former = programs[-1].mappings
            programs.append(_Program(when, list(former), len(former)))
        else:
            self._map(when, programs, what)

    def _map(self, when: int, programs: list[_Program], mapping: Mapping) -> None:
        now = programs[-1]
        now.mappings.append(mapping)
        # fs/binfmt_elf.c: load_elf_binary() maps it last, before the first instruction
        if mapping.file.path == LAST and now.former is not None:
            own = now.mappings[now.former :]
            del now.mappings[now.former :]
            now.former = None
            programs.append(_Program(when, own))


class Memory:
    """The memory of all processes of one run: fed by the reader thread, asked by anybody.

    Programs that were one process one after the other may lie at the same addresses, and do where
    these are not randomized: what is asked for is the name in one of them, by its number. An exec
    counts as a program of its own until the new one runs.
    """

    def __init__(self, name_in: NameIn) -> None:
        self.lost = 0
        self._name_in = name_in
        self._files: dict[int, File] = {}
        self._events: list[tuple[int, int, str, list[Any]]] = []  # in the order of time
        self._now: tuple[dict[int, list[_Program]], Programs] | None = None
        self._lock = threading.Lock()

    def feed(self, message: dict[str, Any]) -> None:
        """Take a MAPS frame. Raises KeyError, TypeError, ValueError."""
        with self._lock:
            for number, path, identity in message["files"]:
                self._files[int(number)] = File(str(path), str(identity))
            for kind, when, pid, *what in message["events"]:
                if kind == "map":  # its file now: in the run's next life another has its number
                    start, size, offset, number = what
                    what = [Mapping(start, size, offset, self._files[number])]
                # of several at one time the order of arrival counts
                insort(self._events, (int(when), len(self._events), str(kind), [pid, *what]))
            self.lost = int(message["lost"])
            self._now = None

    def programs(self) -> Programs:
        """Return when the programs of processes began."""
        return self._replayed()[1]

    def name(self, pid: int, address: int, program: int = 1) -> str:
        """Return the function of a process that an address is in, else ``[library]``, else ``""``.

        ``program`` is the number it has in `programs`.
        """
        programs = self._replayed()[0].get(pid, [])
        found = programs[program - 1].find(address) if 0 < program <= len(programs) else None
        return "" if found is None else self._in(found, address)

    def _in(self, found: Mapping, address: int) -> str:
        path = found.file.path
        if not path.startswith("/") or path.startswith("//"):
            return path if path.startswith("[") else ANONYMOUS
        name = self._name_in(found.file, address - found.start + found.offset)
        return name or f"[{path.rpartition('/')[2]}]"

    def _replayed(self) -> tuple[dict[int, list[_Program]], Programs]:
        with self._lock:
            if self._now is None:
                replay = _Replay()
                for when, _, kind, rest in self._events:
                    replay.step(when, kind, *rest)
                self._now = replay.programs, Programs({
                    pid: [each.began for each in programs]
                    for pid, programs in replay.programs.items() if len(programs) > 1
                })  # fmt: skip
            return self._now
