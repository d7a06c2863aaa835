# SPDX-License-Identifier: MIT
"""The agent itself: one loop over channel, commands and runs."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

from kpmagic.agent import dying, wire
from kpmagic.agent.channel import Channel, HangUp
from kpmagic.agent.refusal import Refused, refused_os
from kpmagic.agent.words import WORDS, Request

ROOM = 1 << 20  # bytes not sent yet, above which workloads must wait with their output
IDLE_MS = 200
PAUSE_MS = 20  # of the notebook, long enough to get ready for a run meanwhile

# What a run needs: slow to come from a cold disk, so it is not left to the first run
READY = (
    "ctypes",
    "mmap",
    "kpmagic.agent.libbpf",
    "kpmagic.agent.workload",
    "kpmagic.agent.probes",
    "kpmagic.agent.session",
)


class Agent:
    """Serves one notebook until it hangs up; ``parent`` is watched unless it is None."""

    def __init__(self, channel: Channel, parent: int | None = None) -> None:
        self.channel = channel
        self.parent = parent
        self.runs: dict[int, Any] = {}
        self.commands: dict[int, Any] = {}
        self.preparations: Iterator[str] | None = prepare()
        self.lease: float | None = None  # seconds without a word, after which all is undone
        self._heard = time.monotonic()

    def serve(self) -> None:
        """Work until the notebook's side is gone. Raises HangUp."""
        while True:
            ready = self.wait()
            self.channel.flush()
            if self.channel.source in ready:
                self.take()
            for owner in [*self.commands.values(), *self.runs.values()]:
                self.step(owner, ready)
            dying.look()
            self.channel.flush()

    def step(self, owner: Any, ready: set[int]) -> None:
        """Have a command or run do what is to be done now; one that cannot go on ends alone."""
        self._have(owner, lambda: owner.step(ready))

    def go(self, run: Any) -> None:
        """Have a run begin whose start has been answered; one that cannot ends alone."""
        self._have(run, run.go)

    def _have(self, owner: Any, do: Callable[[], None]) -> None:
        try:
            do()
        except (OSError, Refused) as error:
            with contextlib.suppress(OSError):
                owner.fail(error if isinstance(error, Refused) else refused_os(error))
        if owner.ended:
            self.forget(owner)

    def wait(self) -> set[int]:
        """Return the descriptors that have something to say. Raises HangUp."""
        poll = select.poll()
        events = {self.channel.sink: select.POLLOUT if self.channel.queued else 0}
        events[self.channel.source] = events.get(self.channel.source, 0) | select.POLLIN
        patience = IDLE_MS if self.preparations is None else PAUSE_MS
        for owner in [*self.commands.values(), *self.runs.values()]:
            patience = min(patience, owner.patience_ms)
            events.update(dict.fromkeys(owner.waits_for(self.channel.queued < ROOM), select.POLLIN))
        for fd, mask in events.items():
            poll.register(fd, mask)
        answers = dict(poll.poll(patience))
        if not answers and self.preparations is not None and not next(self.preparations, None):
            self.preparations = None
        if answers.get(self.channel.sink, 0) & (select.POLLERR | select.POLLNVAL):
            raise HangUp("nobody reads")
        if self.parent is not None and os.getppid() != self.parent:
            raise HangUp("the parent is gone")
        if self.channel.source not in answers:
            self._check_lease()
        return set(answers)

    def _check_lease(self) -> None:
        """Count only time in which there was nothing to read. Raises HangUp."""
        if self.lease is not None and time.monotonic() - self._heard > self.lease:
            raise HangUp("the notebook has fallen silent")

    def take(self) -> None:
        """Answer the requests that have come."""
        try:
            for frame in self.channel.receive():
                self.answer(frame)
        except wire.WireError as error:
            self.refuse(0, None, Refused("request", str(error)))
        self._heard = time.monotonic()  # only now: an answer may take longer than the lease

    def answer(self, frame: wire.Frame) -> None:
        """Do what one frame asks."""
        identity = None
        try:
            if frame.type != wire.REQUEST:
                raise Refused("request", f"a {wire.NAMES[frame.type]} frame is no request")
            message, blob = wire.unpack(frame.payload)
            identity = message.get("id")
            word = WORDS.get(str(message.get("do")))
            if word is None:
                raise Refused("request", f"no word '{message.get('do')}'")
            word(self, Request(frame.run, identity, message, blob))
        except wire.WireError as error:
            self.refuse(frame.run, identity, Refused("request", str(error)))
        except Refused as error:
            self.refuse(frame.run, identity, error)
        except OSError as error:
            self.refuse(frame.run, identity, refused_os(error))

    def reply(self, run: int, identity: Any, ok: dict[str, Any], blob: bytes = b"") -> None:
        """Queue the answer to a request."""
        self.channel.send(wire.REPLY, run, wire.pack({"id": identity, "ok": ok}, blob))

    def refuse(self, run: int, identity: Any, refused: Refused) -> None:
        """Queue the answer to a request that cannot be done."""
        message = {"id": identity, "error": refused.error}
        self.channel.send(wire.REPLY, run, wire.pack(message))

    def forget(self, owner: Any) -> None:
        """Let go of a command or run that has ended."""
        self.commands.pop(owner.number, None)
        self.runs.pop(owner.number, None)

    def new_number(self, run: int) -> None:
        """Check that no run or command has this number. Raises Refused."""
        if run in self.runs or run in self.commands:
            raise Refused("request", f"run {run} is not over yet")

    def session(self, run: int) -> Any:
        """Return the run of this number. Raises Refused."""
        if run not in self.runs:
            raise Refused("request", f"no run {run} is going on")
        return self.runs[run]

    def close(self) -> None:
        """Undo everything, also what is behind something that cannot be undone."""
        with contextlib.ExitStack() as ends:
            for owner in [*self.commands.values(), *self.runs.values()]:
                ends.callback(owner.close)
            self.runs.clear()
            self.commands.clear()


def prepare() -> Iterator[str]:
    """Load what the first run needs, a piece at a time; clean up after agents that were killed."""
    for name in READY:
        __import__(name)
        yield name
    from kpmagic.agent.sweep import sweep

    with contextlib.suppress(OSError):  # %kp clean will say so
        sweep()
    yield "sweep"
    from kpmagic.agent.libbpf import library

    try:
        library()
    except Refused:
        return  # the run that needs it will say so
