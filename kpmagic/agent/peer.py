# SPDX-License-Identifier: MIT
"""A run that another tracer does: its script is handed over, what it prints is sent as it comes.

    starting ──all attached──▶ running ──stop──▶ ending ──it has ended──▶ ended

The loop goes on while the tracer compiles, which may take half a minute.
"""

from __future__ import annotations

import importlib.util
import marshal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kpmagic.agent import arguments, wire
from kpmagic.agent.channel import Channel
from kpmagic.agent.limits import Ends, Limits
from kpmagic.agent.refusal import Refused
from kpmagic.agent.stillness import Change
from kpmagic.agent.telling import Telling
from kpmagic.agent.tool import FIRST_FILE, Tool, find
from kpmagic.agent.workload import Workload

PATIENCE_MS = 50
END_SECONDS = 8.0  # in which a tracer prints what it has and ends
MOST_SAID = 1 << 16  # bytes kept of what it said on its error output while it started

PYTHON = "/usr/bin/python3"  # the distribution's BCC is a module of this one
# a source begins with its licence, bytecode with a letter
RUN = f"""import marshal
data = open({FIRST_FILE + 1}, "rb").read()
exec(compile(data, "bcc.py", "exec") if data[:1] == b"#" else marshal.loads(data))"""
# bpftrace -c starts its command when all probes are attached, and ends with it
CHILD = b"echo attached >&3\nread -r _ <&3\n"


class Asked(NamedTuple):
    """The arguments of ``peer``."""

    script: bytes
    tool: str
    command: str | None
    cwd: str | None
    limits: Limits
    settings: str = "{}"


def asked(message: dict[str, Any], blob: bytes) -> Asked:
    """Return the arguments of ``peer``. Raises Refused."""
    tool = arguments.text(message, "tool")
    if tool not in TOOLS:
        raise Refused("request", f"no tracer '{tool}'")
    return Asked(
        blob,
        tool,
        arguments.text(message, "command", needed=False),
        arguments.text(message, "cwd", needed=False),
        arguments.limits(message),
        arguments.text(message, "settings", needed=False) or "{}",
    )


def bpftrace(name: str, wanted: Asked) -> Tool:
    """Start bpftrace on its standard input. Raises Refused."""
    child = f"/bin/sh /proc/self/fd/{FIRST_FILE}"
    words = [find("bpftrace"), "-f", "json", "-c", child, "-"]
    return Tool(name, words, wanted.script, [CHILD], wanted.cwd)


def bcc(name: str, wanted: Asked) -> Tool:
    """Start BCC on a script. Raises Refused."""
    return bcc_tool(name, wanted.script, wanted.settings, wanted.cwd)


def bcc_tool(
    name: str, source: bytes, settings: str, cwd: str | None, fds: Sequence[int] = ()
) -> Tool:
    """Start BCC under the system's Python, which has it; ``fds`` it inherits. Raises Refused."""
    files = [settings.encode(), program("kpmagic.agent.bcc")]
    return Tool(name, [find(PYTHON), "-I", "-c", RUN], source, files, cwd, fds)


def program(module: str) -> bytes:
    """Return a module of the agent's for RUN: its source, or its bytecode where that is all."""
    spec = importlib.util.find_spec(module)
    loader: Any = None if spec is None else spec.loader
    source = loader.get_source(module)
    if source is not None:
        return str(source).encode()
    return marshal.dumps(loader.get_code(module))


TOOLS: dict[str, Callable[[str, Asked], Tool]] = {"bpftrace": bpftrace, "bcc": bcc}

Started = Callable[[dict[str, Any]], None]
Refuse = Callable[[Refused], None]


class PeerSession:
    """A tracer's process from its start to END; ``started`` or ``refuse`` is called once."""

    def __init__(
        self, channel: Channel, number: int, wanted: Asked, started: Started, refuse: Refuse
    ) -> None:
        """Spawn the command held back, then the tracer. Raises Refused."""
        self.number = number
        self.ended = False
        self.patience_ms = PATIENCE_MS
        self._channel = channel
        self._telling = Telling(channel, number)
        self._asked = wanted
        self._started, self._refuse = started, refuse
        self._state = self._starting
        self._reason = ""
        self._error: str | None = None
        self._said = ""
        self._killed = False
        self._ends = Ends(wanted.limits)
        self._began = time.monotonic_ns()
        self._workload: Workload | None = None
        if wanted.command is not None:
            self._workload = Workload(number, wanted.command, wanted.cwd)
        # it does not tell when it plants: from its start until it is ready, and all the end
        self._change = Change(self._workload)
        try:
            self._tool = TOOLS[wanted.tool](f"{number}.{wanted.tool}", wanted)
        except BaseException:
            self._change.over()
            if self._workload is not None:
                self._workload.close()
            raise

    def waits_for(self, room: bool) -> list[int]:
        """Return the descriptors to poll for reading."""
        found = self._tool.waits_for(room)
        if self._state == self._starting:
            found.append(self._tool.control.fileno())
        return found + (self._workload.waits_for(room) if self._workload is not None else [])

    def step(self, ready: set[int]) -> None:
        """Do what is to be done now; called at least every ``patience_ms``."""
        self._tool.look()
        if self._workload is not None:
            self._telling.output(self._workload, ready)
        self._pass_on(ready)
        self._state()

    def _pass_on(self, ready: set[int]) -> bool:
        """Send what the tracer has printed; say whether there was anything."""
        data = self._tool.read() if self._tool.output in ready else b""
        if data:
            self._channel.send(wire.DATA, self.number, data)
        text = self._tool.errors.read() if self._tool.errors.fd in ready else ""
        if text and self._state == self._starting:
            self._said = (self._said + text)[-MOST_SAID:]
        if text:
            self._telling.log("tool", text)
        return bool(data or text)

    def _starting(self) -> None:
        code = self._tool.exit_code
        if code or self._killed:
            self._drain()
            self._give_up()
        elif code == 0 or self._tool.heard():  # a script may end in its very first probe
            self._state = self._running
            self._change.over()
            self._started({"start_ns": time.monotonic_ns() - self._began})
            self._go()

    def _give_up(self) -> None:
        code = self._tool.exit_code
        words = "it was stopped" if self._killed else f"{self._asked.tool} ended with {code}"
        self._close()
        self.ended = True
        self._refuse(Refused("tool", words, errno=code, log=self._said, program=self._asked.tool))

    def _go(self) -> None:
        if self._workload is not None:
            self._workload.wait_until_held()
            self._workload.release()
        self._ends.begin()

    def _running(self) -> None:
        reason = self._why_stop()
        if reason:
            self.stop(reason)

    def _why_stop(self) -> str:
        if self._tool.exit_code is not None:
            return "exit"
        if self._workload is not None and self._workload.exit_code is not None:
            return "while"
        self.patience_ms = self._ends.patience(PATIENCE_MS)
        return self._ends.reason()

    def fail(self, refused: Refused) -> None:
        """Undo it, and end with an error. Raises OSError."""
        self.ended = True
        if self._state == self._starting:
            self._refuse(refused)
        else:
            self._telling.plain_end("error", str(refused), None)
        self._close()

    def stop(self, reason: str) -> None:
        """Begin to end. Nothing happens when it is ending already."""
        if self._reason:
            return
        self._reason = reason
        if self._state == self._starting:
            self._killed = True
            self._tool.kill()
            return
        self._deadline = time.monotonic() + END_SECONDS
        self._change = Change(self._workload)
        self._tool.finish()
        self._state = self._ending
        self.kill()

    def kill(self) -> None:
        """Kill the command; the run then ends as if the command had."""
        if self._workload is not None:
            self._workload.kill()

    def _ending(self) -> None:
        if self._tool.exit_code is None:
            if time.monotonic() < self._deadline:
                return
            self._killed = True
            self._tool.kill()
            self._deadline += END_SECONDS
            return
        self._drain()
        self._finish()

    def _drain(self) -> None:
        """Send what is left in the pipes; a descendant that holds them is not waited for."""
        while self._pass_on({self._tool.output, self._tool.errors.fd}):
            pass

    def _finish(self) -> None:
        code = self._tool.exit_code
        name = self._asked.tool
        if self._killed:
            self._telling.remark(f"{name} did not end within {END_SECONDS:.0f} s and was killed: "
                                 "what it had not printed until then is missing")  # fmt: skip
        elif code:
            how = f"by signal {code - 128}" if code > 128 else f"with {code}"
            self._error = f"{name} ended {how}"
        exit_code = None
        if self._workload is not None:
            waits = set(self._workload.waits_for(True))
            self._telling.output(self._workload, waits)
        self._close()
        if self._workload is not None:
            exit_code = self._workload.exit_code
        self._telling.plain_end(self._reason, self._error, exit_code)
        self.ended = True

    def _close(self) -> None:
        if self._workload is not None:
            self._workload.close()
        self._tool.close()
        self._change.over()

    def aggregates(self) -> tuple[list[dict[str, Any]], bytes]:
        """Another tracer prints its maps itself. Raises Refused."""
        raise Refused("request", f"{self._asked.tool} prints its maps when it ends")

    def places(self) -> list[dict[str, Any]]:
        """Where its probes are, it does not tell. Raises Refused."""
        raise Refused("request", f"a run of {self._asked.tool} has no places")

    def close(self) -> None:
        """Undo everything without another word."""
        self._close()
