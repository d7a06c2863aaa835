# SPDX-License-Identifier: MIT
"""What a notebook can ask of the agent: a function for each word of wire.py's list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kpmagic.agent import arguments

if TYPE_CHECKING:
    from kpmagic.agent.loop import Agent
    from kpmagic.agent.refusal import Refused

LONGEST_LEASE_MS = 3_600_000


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
        agent.go(session)

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
    agent.go(session)


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
    "aggregates": aggregates,
    "planted": planted,
    "code": code,
}
