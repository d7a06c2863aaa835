# SPDX-License-Identifier: MIT
"""The agent itself: one loop over channel, commands and runs."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from typing import Any

from kpmagic.agent import arguments, dying, wire
from kpmagic.agent.channel import Channel, HangUp
from kpmagic.agent.refusal import Refused, refused_os

ROOM = 1 << 20  # bytes not sent yet, above which workloads must wait with their output
IDLE_MS = 200
LONGEST_LEASE_MS = 3_600_000
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
        try:
            owner.step(ready)
        except OSError as error:
            with contextlib.suppress(OSError):
                owner.fail(refused_os(error))
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
        self._check_lease(self.channel.source in answers)
        return set(answers)

    def _check_lease(self, heard: bool) -> None:
        """Count only time in which there was nothing to read. Raises HangUp."""
        now = time.monotonic()
        if heard:
            self._heard = now
        elif self.lease is not None and now - self._heard > self.lease:
            raise HangUp("the notebook has fallen silent")

    def take(self) -> None:
        """Answer the requests that have come."""
        try:
            for frame in self.channel.receive():
                self.answer(frame)
        except wire.WireError as error:
            self.refuse(0, None, Refused("request", str(error)))

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

    sweep()
    yield "sweep"
    from kpmagic.agent.libbpf import library

    try:
        library()
    except Refused:
        return  # the run that needs it will say so


class Request:
    """A request with its frame's run number."""

    def __init__(self, run: int, identity: Any, message: dict[str, Any], blob: bytes) -> None:
        self.run = run
        self.identity = identity
        self.message = message
        self.blob = blob


def ping(agent: Agent, request: Request) -> None:
    """Answer; from now on the notebook may be silent for as long as it says, if it does."""
    lease = arguments.number(request.message, "lease_ms", 0, LONGEST_LEASE_MS, 0)
    agent.lease = lease / 1000 if lease else None
    agent.reply(request.run, request.identity, {})


def read(agent: Agent, request: Request) -> None:
    """Send a file."""
    from kpmagic.agent.files import MOST, read_file

    path = arguments.text(request.message, "path")
    size = arguments.number(request.message, "size", 0, MOST, -1)
    content = read_file(path, None if size == -1 else size)
    agent.reply(request.run, request.identity, {"size": len(content)}, content)


def log(agent: Agent, request: Request) -> None:
    """Send the kernel's log."""
    from kpmagic.agent.files import kernel_log

    agent.reply(request.run, request.identity, {"lines": kernel_log()})


def run(agent: Agent, request: Request) -> None:
    """Start a command; the answer comes when it has ended."""
    from kpmagic.agent.command import Command

    agent.new_number(request.run)
    command = arguments.text(request.message, "command")
    cwd = arguments.text(request.message, "cwd", needed=False)

    def ended(code: int) -> None:
        agent.reply(request.run, request.identity, {"exit_code": code})

    def refuse(refused: Refused) -> None:
        agent.refuse(request.run, request.identity, refused)

    agent.commands[request.run] = Command(agent.channel, request.run, command, cwd, ended, refuse)


def kill(agent: Agent, request: Request) -> None:
    """Kill a command and its descendants."""
    owner = agent.commands.get(request.run) or agent.runs.get(request.run)
    if owner is not None:
        owner.kill()
    agent.reply(request.run, request.identity, {})


def start(agent: Agent, request: Request) -> None:
    """Start a run: answered before its first record can be sent."""
    from kpmagic.agent.session import Session

    agent.new_number(request.run)
    asked = arguments.start(request.message, request.blob)

    def begin(session: Session) -> None:
        agent.runs[request.run] = session
        agent.reply(request.run, request.identity, session.started)
        session.go()

    if asked.bcc:
        from kpmagic.agent.compiling import Compiling

        def refuse(refused: Refused) -> None:
            agent.refuse(request.run, request.identity, refused)

        agent.runs[request.run] = Compiling(agent.channel, request.run, asked, begin, refuse)
    else:
        begin(Session(agent.channel, request.run, asked))


def insmod(agent: Agent, request: Request) -> None:
    """Start a run that is a kernel module: answered when its init has returned."""
    from kpmagic.agent.kmodule import ModuleSession, asked

    agent.new_number(request.run)
    insert = asked(request.message, request.blob)
    session = ModuleSession(agent.channel, request.run, insert)
    agent.runs[request.run] = session
    agent.reply(request.run, request.identity, session.started)
    session.go()


def peer(agent: Agent, request: Request) -> None:
    """Start a run of another tracer: answered when its probes are there, or it has given up."""
    from kpmagic.agent.peer import PeerSession, asked

    agent.new_number(request.run)

    def started(ok: dict[str, Any]) -> None:
        agent.reply(request.run, request.identity, ok)

    def refuse(refused: Refused) -> None:
        agent.refuse(request.run, request.identity, refused)

    wanted = asked(request.message, request.blob)
    agent.runs[request.run] = PeerSession(agent.channel, request.run, wanted, started, refuse)


def stop(agent: Agent, request: Request) -> None:
    """Begin to end a run; one that has ended by itself meanwhile is no mistake."""
    reason = arguments.text(request.message, "reason", needed=False) or "user"
    session = agent.runs.get(request.run)
    agent.reply(request.run, request.identity, {})
    if session is not None:
        session.stop(reason)


def counters(agent: Agent, request: Request) -> None:
    """Send a run's counters as they are now."""
    agent.reply(request.run, request.identity, agent.session(request.run).counters())


def aggregates(agent: Agent, request: Request) -> None:
    """Send a run's aggregates as they are now."""
    index, blob = agent.session(request.run).aggregates()
    agent.reply(request.run, request.identity, {"maps": index}, blob)


def planted(agent: Agent, request: Request) -> None:
    """Send where a run's probes are, and what was there before."""
    agent.reply(request.run, request.identity, {"places": agent.session(request.run).places()})


def code(agent: Agent, request: Request) -> None:
    """Send pieces of the kernel's code."""
    from kpmagic.agent.code import pieces

    found = pieces(request.message)
    sizes = [len(piece) for piece in found]
    agent.reply(request.run, request.identity, {"sizes": sizes}, b"".join(found))


def clean(agent: Agent, request: Request) -> None:
    """Undo what agents that were killed have left."""
    from kpmagic.agent.sweep import sweep

    removed, kept = sweep()
    agent.reply(request.run, request.identity, {"removed": removed, "kept": kept})


def staying(agent: Agent, request: Request) -> None:
    """Tell which modules that nobody needs any more would not go, and why."""
    from kpmagic.agent.sweep import staying

    agent.reply(request.run, request.identity, {"modules": staying()})


def taken(agent: Agent, request: Request) -> None:
    """Tell whether a module can have a name."""
    from kpmagic.agent import kmod

    name = arguments.text(request.message, "name")
    agent.reply(request.run, request.identity, {"why": kmod.taken(name)})


WORDS = {
    "ping": ping,
    "clean": clean,
    "staying": staying,
    "taken": taken,
    "read": read,
    "log": log,
    "run": run,
    "kill": kill,
    "start": start,
    "insmod": insmod,
    "peer": peer,
    "stop": stop,
    "counters": counters,
    "aggregates": aggregates,
    "planted": planted,
    "code": code,
}
