# SPDX-License-Identifier: MIT
"""Cgroups of workloads: what a command and its descendants are, and how all of them end."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from kpmagic.agent import dying
from kpmagic.agent.descriptors import Descriptors
from kpmagic.agent.identity import identity
from kpmagic.agent.refusal import Refused, refused_os

# What ends the workloads when the agent was killed and could not: it waits for the end of a pipe
# whose other end only the agent holds.
WARDEN = """
read -r _
for group in "$0".*; do
    [ -d "$group" ] || continue
    if [ -e "$group/cgroup.kill" ]; then
        echo 1 > "$group/cgroup.kill"
    else
        echo 1 > "$group/cgroup.freeze"
        while read -r pid; do kill -9 "$pid"; done < "$group/cgroup.procs"
    fi
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rmdir "$group" && break
        sleep 0.05
    done
done
"""
KILL_SECONDS = 0.4
PREFIX = "kpmagic"

_warden: list[int] = []


class Group:
    """A cgroup v2 that is there."""

    def __init__(self, path: str) -> None:
        self.path = path

    def kill(self) -> None:
        """Kill every process in it."""
        try:
            self._write("cgroup.kill", 1)  # since Linux 5.14, 661ee6281915
        except OSError:
            self._kill_each()

    def _kill_each(self) -> None:
        self.freeze(True)  # what forks would be another process each time
        end = time.monotonic() + KILL_SECONDS
        while (pids := self.pids()) and time.monotonic() < end:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.002)

    def freeze(self, on: bool) -> None:
        """Have every process in it stand still soon, or go on. One that is gone needs neither."""
        with contextlib.suppress(OSError):
            self._write("cgroup.freeze", int(on))  # since Linux 5.2, 76f969e8948d

    @property
    def frozen(self) -> bool:
        """Whether all in it stand still, or it is gone."""
        try:
            with open(f"{self.path}/cgroup.events", encoding="ascii") as file:
                return "frozen 1" in file.read()
        except OSError:
            return True

    def pids(self) -> list[int]:
        """Return the processes in it."""
        try:
            with open(f"{self.path}/cgroup.procs", encoding="ascii") as file:
                return [int(line) for line in file]
        except OSError:
            return []

    def remove(self) -> None:
        """Kill what is in it and remove it. Raises OSError while something in it does not die."""
        self.kill()
        end = time.monotonic() + KILL_SECONDS
        while True:
            try:
                return os.rmdir(self.path)
            except FileNotFoundError:
                return None
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.002)

    def _write(self, name: str, value: int) -> None:
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d\n" % value)
        finally:
            os.close(fd)


class Cgroup(Group):
    """One that is made; ``id`` is what ``bpf_get_current_cgroup_id()`` gives in it."""

    def __init__(self, name: str) -> None:
        """Make it. Raises Refused."""
        beginning = prefix()
        super().__init__(f"{beginning}.{name}")
        try:
            os.mkdir(self.path)
        except OSError as error:
            raise refused_os(error) from None
        try:
            self.id = os.stat(self.path).st_ino
            _start_warden(beginning)
        except OSError as error:
            os.rmdir(self.path)
            raise refused_os(error) from None

    def end(self) -> None:
        """Kill what is in it and remove it, later where something in it does not die at once.

        That is no reason for the agent to wait, or to die, with all its runs.
        """
        try:
            self.remove()
        except OSError:
            dying.groups.add(self.path)

    def add(self, pid: int) -> None:
        """Move a process into it. Raises OSError."""
        self._write("cgroup.procs", pid)


def prefix() -> str:
    """Return how the paths of this agent's cgroups begin. Raises Refused."""
    return f"{mount()}/{PREFIX}.{identity()}"


def mount() -> str:
    """Return where the cgroup v2 tree is mounted. Raises Refused."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, where, type_, *_ = line.split(" ")
            if type_ == "cgroup2":
                return where
    raise Refused("os", "cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup")


def _start_warden(beginning: str) -> None:
    if _warden:
        return
    with Descriptors() as theirs, Descriptors() as ours:
        source, sink = os.pipe()
        theirs.add(source)
        ours.add(sink)
        null = theirs.add(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        places = [(os.POSIX_SPAWN_DUP2, source, 0)]
        places += [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (1, 2)]
        arguments = ["/bin/sh", "-c", WARDEN, beginning]
        os.posix_spawn("/bin/sh", arguments, os.environ, file_actions=places, setsid=True)
        ours.pop_all()
        _warden.append(sink)
