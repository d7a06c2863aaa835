# SPDX-License-Identifier: MIT
"""A shell command on the target: spawned held back, let go, watched, killed."""

from __future__ import annotations

import contextlib
import os
import select
import time

from kpmagic.agent.cgroup import Cgroup
from kpmagic.agent.descriptors import Descriptors
from kpmagic.agent.refusal import refused_os
from kpmagic.agent.spawning import Stream, ended, killed, spawn

# Becomes the command when a line arrives, so that nothing it does before is taken for the
# command's: that it closes 3 says that it has come so far. $0 is the command's text, never a
# part of this one's.
HELD = 'exec 3>&-; read -r _ && exec /bin/sh -c "$0" </dev/null'
HELD_SECONDS = 5.0


class Workload:
    """One command and its descendants, in a cgroup of their own."""

    def __init__(self, run: int, command: str, cwd: str | None) -> None:
        """Spawn it, held back. Raises Refused."""
        self.run = run
        self.exit_code: int | None = None
        self.cgroup = Cgroup(str(run))
        self._streams: dict[int, Stream] = {}
        self._go, self._held, self._pidfd, self._pid = -1, -1, -1, 0
        try:
            self._spawn(command, cwd)
        except OSError as error:
            self.close()
            raise refused_os(error, "spawn") from None

    def _spawn(self, command: str, cwd: str | None) -> None:
        with Descriptors() as theirs:
            source, self._go = os.pipe()
            fds = [theirs.add(source)]
            for name in ("stdout", "stderr"):
                ours, sink = os.pipe()
                self._streams[ours] = Stream(name, ours)
                fds.append(theirs.add(sink))
            self._held, sink = os.pipe()
            fds.append(theirs.add(sink))
            self._pid, self._pidfd = spawn(["/bin/sh", "-c", HELD, command], fds, cwd)
        self.cgroup.add(self._pid)

    def wait_until_held(self) -> None:
        """Return when the shell has started and sleeps: until then it makes calls of its own."""
        end = time.monotonic() + HELD_SECONDS
        poll = select.poll()
        poll.register(self._held, 0)  # the hang-up is always told
        poll.poll(HELD_SECONDS * 1000)
        while not self._sleeps() and time.monotonic() < end:
            time.sleep(0.001)

    def _sleeps(self) -> bool:
        with open(f"/proc/{self._pid}/stat", "rb", buffering=0) as file:
            return file.read(512).rpartition(b") ")[2][:1] in b"SZ"

    def release(self) -> None:
        """Let the command go; the end of one that was killed meanwhile is noticed by ``read``."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b"\n")
        self._close_pipes()

    def waits_for(self, room: bool) -> list[int]:
        """Return the descriptors to poll for reading; no output unless there is ``room``."""
        ended = [self._pidfd] if self._pidfd >= 0 else []
        return ended + (list(self._streams) if room else [])

    def read(self, ready: set[int]) -> list[tuple[str, str]]:
        """Return (stream, text) of what came out of those descriptors; notice the end."""
        texts = []
        for fd in [fd for fd in self._streams if fd in ready]:
            texts.append((self._streams[fd].name, self._streams[fd].read()))
            if self._streams[fd].ended:
                self._drop(fd)
        if self._pidfd in ready:
            texts += self._end()
        return [(name, text) for name, text in texts if text]

    def _end(self) -> list[tuple[str, str]]:
        """Take exit code and last words. A descendant may hold the pipes: not waited for."""
        code = ended(self._pid)
        if code is None:
            return []
        self._left(code)
        texts = []
        for stream in list(self._streams.values()):
            texts.append((stream.name, stream.rest()))
            self._drop(stream.fd)
        return texts

    def _left(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        os.close(self._pidfd)
        self._pidfd = -1

    def _close_pipes(self) -> None:
        for fd in (self._go, self._held):
            if fd >= 0:
                os.close(fd)
        self._go = self._held = -1

    def _drop(self, fd: int) -> None:
        del self._streams[fd]
        os.close(fd)

    def kill(self) -> None:
        """Kill the command and its descendants; its end is then noticed by ``read``."""
        self.cgroup.kill()

    def close(self) -> None:
        """Kill and remove what is left of it."""
        self._close_pipes()
        if self._pidfd >= 0:
            self.kill()
            self._left(killed(self._pid, self._pidfd))  # in case it is not in the cgroup yet
        for fd in list(self._streams):
            self._drop(fd)
        self.cgroup.end()
