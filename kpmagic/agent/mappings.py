# SPDX-License-Identifier: MIT
"""Where the code of each process lies, so that the addresses of its stacks can be named later.

Processes that live at the start are looked at in /proc; what comes later is told by perf.py.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import Any

from kpmagic.agent import wire
from kpmagic.agent.channel import Channel
from kpmagic.agent.hello import possible_cpus
from kpmagic.agent.identified import identity_at
from kpmagic.agent.perf import Event, Executed, Forked, Mapped, Watch


class Mappings:
    """What a run tells of the mappings of code, each once, in MAPS frames (agent/wire.py)."""

    def __init__(self, channel: Channel, run: int) -> None:
        self.remark = ""
        self._channel, self._run = channel, run
        self._watch: Watch | None = None
        self._first: list[Event] = []
        self._files: dict[tuple[str, tuple[int, int], int], int] = {}

    def watch(self) -> None:
        """Begin: before that nothing is told."""
        try:
            self._watch = Watch(possible_cpus())
        except OSError as error:
            self.remark = (
                f"user stacks: only what runs already has names (perf_event_open: {error.strerror})"
            )
        self._first = list(living())

    def tell(self) -> None:
        """Send what is new; to be called before stacks that go through it are sent."""
        events, self._first = self._first, []
        if self._watch is not None:
            events = events + self._watch.events()
        if not events:
            return
        files: list[list[Any]] = []
        told = [self._told(event, files) for event in events]
        lost = self._watch.lost if self._watch is not None else 0
        message = {"events": told, "files": files, "lost": lost}
        self._channel.send(wire.MAPS, self._run, wire.pack_json(message))

    def _told(self, event: Event, files: list[list[Any]]) -> list[Any]:
        if isinstance(event, Forked):
            return ["fork", *event]
        if isinstance(event, Executed):
            return ["exec", *event]
        key = (event.path, event.device, event.inode)
        if key not in self._files:
            self._files[key] = len(self._files)
            files.append([self._files[key], event.path, identity(event.pid, event.path)])
        return ["map", *event[:5], self._files[key]]

    def close(self) -> None:
        """Watch no longer."""
        if self._watch is not None:
            self._watch.close()


def living() -> Iterable[Mapped]:
    """Yield the mappings of all processes that live now."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            now = time.monotonic_ns()  # before: what an exec maps meanwhile comes after it
            with contextlib.suppress(OSError), open(f"/proc/{name}/maps", "rb") as file:
                lines = file.read().splitlines()
                yield from (_mapped(now, int(name), line) for line in lines if b"x" in line[:50])


def _mapped(now: int, pid: int, line: bytes) -> Mapped:
    """Return what a line of /proc/PID/maps says; Documentation/filesystems/proc.rst."""
    span, _, offset, device, inode, *path = line.split(None, 5)
    start, end = (int(each, 16) for each in span.split(b"-"))
    major, minor = (int(each, 16) for each in device.split(b":"))
    where = os.fsdecode(path[0]) if path else "//anon"
    return Mapped(now, pid, start, end - start, int(offset, 16), (major, minor), int(inode), where)


def identity(pid: int, path: str) -> str:
    """Return the identity of a file that a process has mapped, ``""`` where it is gone."""
    if not path.startswith("/") or path.startswith("//"):
        return ""
    for place in (f"/proc/{pid}/root{path}", path):
        with contextlib.suppress(OSError):
            return identity_at(place)
    return ""
