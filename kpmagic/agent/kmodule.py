# SPDX-License-Identifier: MIT
"""A kernel module's run: it is in the kernel from start to END, and the log since then is sent."""

from __future__ import annotations

import errno
import time
from typing import Any, NamedTuple

from kpmagic.agent import arguments, kmod, sweep
from kpmagic.agent.channel import Channel
from kpmagic.agent.kmsg import Kmsg
from kpmagic.agent.limits import Ends, Limits
from kpmagic.agent.refusal import Refused
from kpmagic.agent.slept import Slept
from kpmagic.agent.stillness import Change
from kpmagic.agent.telling import Telling
from kpmagic.agent.workload import Workload

PATIENCE_MS = 50
REMOVE_SECONDS = 2.0  # in which a module that is in use may become free
BUSY = (errno.EBUSY, errno.EWOULDBLOCK)


class Insert(NamedTuple):
    """The arguments of ``insmod``."""

    image: bytes
    name: str
    parameters: str
    command: str | None
    cwd: str | None
    limits: Limits
    expendable: bool


def asked(message: dict[str, Any], blob: bytes) -> Insert:
    """Return the arguments of ``insmod``. Raises Refused."""
    return Insert(
        blob,
        arguments.text(message, "name"),
        arguments.text(message, "parameters", needed=False) or "",
        arguments.text(message, "command", needed=False),
        arguments.text(message, "cwd", needed=False),
        arguments.limits(message),
        message.get("expendable") is True,
    )


class ModuleSession:
    """A module that is loaded."""

    def __init__(self, channel: Channel, number: int, insert: Insert) -> None:
        """Spawn the command held back, then load. Raises Refused."""
        self.number = number
        self.ended = False
        self.patience_ms = PATIENCE_MS
        self._telling = Telling(channel, number)
        self._asked = insert
        self._ends = Ends(insert.limits)
        self._reason = ""
        self._error: str | None = None
        self._stopping = 0.0
        self._workload: Workload | None = None
        self._kmsg = Kmsg()
        self._slept = Slept(insert.expendable)
        try:
            why = kmod.taken(insert.name)
            if why:
                raise Refused("module", f"module '{insert.name}': {why}", errno=errno.EEXIST)
            if insert.command is not None:
                self._workload = Workload(number, insert.command, insert.cwd)
            self.started = self._insert()
        except BaseException:
            self._kmsg.close()
            if self._workload is not None:
                self._workload.close()
            raise

    def _insert(self) -> dict[str, Any]:
        """Load; return the wire's answer. Raises Refused."""
        began = time.monotonic_ns()
        sweep.note_module(self._asked.name)
        try:
            with Change(self._workload):
                kmod.insert(self._asked.image, self._asked.parameters)
        except OSError as error:
            sweep.forget_module(self._asked.name)
            log = self._kmsg.read()
            raise kmod.refused(error, f"module '{self._asked.name}'", log) from None
        took = time.monotonic_ns() - began
        found = kmod.loaded(self._asked.name)
        return {"load_ns": took, "size": 0 if found is None else found.size}

    def go(self) -> None:
        """Let the command go."""
        if self._workload is not None:
            self._workload.wait_until_held()
            self._workload.release()
        self._ends.begin()

    def waits_for(self, room: bool) -> list[int]:
        """Return the descriptors to poll for reading."""
        log = [self._kmsg.fd] if room else []
        return log + (self._workload.waits_for(room) if self._workload is not None else [])

    def step(self, ready: set[int]) -> None:
        """Do what is to be done now; called at least every ``patience_ms``."""
        if self._workload is not None:
            self._telling.output(self._workload, ready)
        if self._kmsg.fd in ready:  # there is room, see waits_for()
            self._send_log()
        self._slept.act()
        if self._stopping:
            self._remove()
        else:
            reason = self._why_stop()
            if reason:
                self.stop(reason)

    def _why_stop(self) -> str:
        if self._workload is not None and self._workload.exit_code is not None:
            return "while"
        self.patience_ms = self._ends.patience(PATIENCE_MS)
        return self._ends.reason()

    def fail(self, refused: Refused) -> None:
        """Undo it, and end with an error. Raises OSError."""
        try:
            self.close()
        finally:
            self.ended = True
            self._telling.plain_end("error", str(refused), None)

    def stop(self, reason: str) -> None:
        """Begin to end. Nothing happens when it is ending already."""
        if not self._stopping:
            self._reason = reason
            self._stopping = time.monotonic()
            self.kill()
            self.patience_ms = 0

    def kill(self) -> None:
        """Kill the command; the run then ends as if the command had."""
        if self._workload is not None:
            self._workload.kill()

    def _remove(self) -> None:
        """Take the module out; one in use is given a moment."""
        self.patience_ms = PATIENCE_MS
        try:
            with Change():
                kmod.remove(self._asked.name)
        except OSError as error:
            waited = time.monotonic() - self._stopping
            if error.errno in BUSY and waited < REMOVE_SECONDS:
                return
            if error.errno != errno.ENOENT:  # somebody else has removed it: it is out
                self._error = self._why_not(error)
        self._finish()

    def _why_not(self, error: OSError) -> str:
        name = self._asked.name
        if error.errno in BUSY:
            return f"module '{name}' stays loaded: {kmod.why_it_stays(name)}"
        return str(kmod.refused(error, f"module '{name}' stays loaded"))

    def _send_log(self) -> bool:
        records = self._kmsg.read()
        if self._kmsg.lost:
            self._telling.remark(f"{self._kmsg.lost} times the kernel's log was overwritten unread")
            self._kmsg.lost = 0
        if records:
            self._telling.log("kernel", "\n".join(records))
            remark = self._slept.look(records)
            if remark:
                self._telling.remark(remark)
        return bool(records)

    def _finish(self) -> None:
        while self._send_log():
            pass
        exit_code = None
        if self._workload is not None:
            self._telling.output(self._workload, set(self.waits_for(True)))
            self._workload.close()
            exit_code = self._workload.exit_code
        sweep.module_is_over(self._asked.name)
        self._kmsg.close()
        self._telling.plain_end(self._reason, self._error, exit_code)
        self.ended = True

    def places(self) -> list[dict[str, Any]]:
        """Its probes are its own affair. Raises Refused."""
        raise Refused("request", "a module's run has no places")

    def aggregates(self) -> tuple[list[dict[str, Any]], bytes]:
        """A module has no aggregates. Raises Refused."""
        raise Refused("request", "a module's run has no aggregates")

    def close(self) -> None:
        """Undo everything without another word."""
        if self._workload is not None:
            self._workload.close()
        end = time.monotonic() + REMOVE_SECONDS
        while not self.ended and time.monotonic() < end:
            try:
                kmod.remove(self._asked.name)
            except OSError as error:
                if error.errno in BUSY:
                    time.sleep(0.05)
                    continue
            break
        sweep.module_is_over(self._asked.name)
        self._kmsg.close()
