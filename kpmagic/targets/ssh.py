# SPDX-License-Identifier: MIT
"""A machine behind the system's ssh: nothing is installed there, the agent is sent each time."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from kpmagic.errors import CellError, KpmagicError
from kpmagic.targets import commands, ends
from kpmagic.targets.base import Progress
from kpmagic.targets.child import PYTHON, Child
from kpmagic.targets.lease import REMOTE

ANSWER_SECONDS = 45.0
USAGE = "ssh://user@host[:port]"

# option → why
OPTIONS = {
    "BatchMode=yes": "never a question: nobody could answer",
    "ConnectTimeout=10": "a host that does not answer is told",
    "ServerAliveInterval=4": "a network that is gone is noticed",
    "ServerAliveCountMax=3": "within 12 s",
    "ClearAllForwardings=yes": "the user's forwardings belong to other connections",
    "ForwardAgent=no": "nor are the user's keys needed there",
    "ForwardX11=no": "nor a display",
    "ControlMaster=no": "of its own, so that it ends with the notebook",
    "ControlPath=none": "as above",
    "RequestTTY=no": "bytes must arrive unchanged",
    "RemoteCommand=none": "the agent is the command",
    "PermitLocalCommand=no": "nor anything here",
    "EscapeChar=none": "bytes must arrive unchanged",
    "LogLevel=ERROR": "no banners among its errors",
}

# RFC 3986, less what no login name or host has: a letter or digit first, so that none is an option
USER = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}\$?"
HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,15})?\]"
PATTERN = re.compile(rf"ssh://(?:(?P<user>{USER})@)?(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?/?")


class Address(NamedTuple):
    """Where ssh goes; ``user`` is None for ssh's own choice, ``port`` too."""

    user: str | None
    host: str
    port: int | None

    @property
    def destination(self) -> str:
        """``user@host`` as ssh is given it."""
        return f"{self.user}@{self.host}" if self.user else self.host


def parse(name: str) -> Address:
    """Return the address of ``ssh://user@host:port``. Raises CellError."""
    found = PATTERN.fullmatch(name)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < 65536):
        raise CellError(f"{name!r} is no address of a machine", hint=f"it is written {USAGE}")
    return Address(found["user"], found["host"].strip("[]"), port)


def command(address: Address) -> list[str]:
    """Return ssh's arguments, itself not included."""
    port = [] if address.port is None else ["-p", str(address.port)]
    user = [] if address.user is None else ["-l", address.user]
    options = [word for option in OPTIONS for word in ("-o", option)]
    return [*options, *port, *user, "--", address.host, f"exec {shlex.join(PYTHON)}"]


def in_a_terminal(address: Address) -> str:
    """Return what a user types to get there."""
    port = [] if address.port is None else ["-p", str(address.port)]
    return shlex.join(["ssh", *port, address.destination])


class Ssh:
    """A machine reached by the system's ssh with the user's own configuration and keys."""

    def __init__(self, name: str, progress: Progress | None = None) -> None:
        """Raises CellError for what is no address."""
        self.name = name
        self.lease = REMOTE
        self.address = parse(name)
        self._progress = progress
        self._child: Child | None = None

    @property
    def alive(self) -> bool:
        """Whether ssh runs."""
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int | None:
        """ssh's process id, once it has been started."""
        return None if self._child is None else self._child.pid

    def open_agent(self) -> Child:
        """Connect and send the agent. Raises NotPermitted, TargetError, MissingDependency."""
        if self._progress is not None:
            self._progress(f"connecting to {self.address.destination}")
        child = self._child = Child(self.name, [commands.find("ssh"), *command(self.address)])
        try:
            if child.answers(ANSWER_SECONDS):
                return child
            child.wait(0.5)
            raise self._why(child.messages())
        except BaseException:
            self.close()
            raise

    def _why(self, said: str) -> KpmagicError:
        typed, destination = in_a_terminal(self.address), self.address.destination
        user = self.address.user or "$USER"
        return ends.why(said, what=self.name, user=user, command=typed, destination=destination)

    def kernel_btf(self) -> None:
        """Return None: the agent reads it."""
        return

    def last_words(self) -> str:
        """Return what ssh said, or ``""``."""
        return "" if self._child is None else self._child.messages()

    def close(self) -> None:
        """End ssh, and with it the agent, which undoes everything."""
        if self._child is not None:
            self._child.close()
