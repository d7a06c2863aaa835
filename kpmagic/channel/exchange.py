# SPDX-License-Identifier: MIT
"""Frames to and from one target's agent: questions with their answers, and each run's own.

One daemon thread reads frames and hands them on: replies to whoever asked, a run's frames to its
run. That thread never prints and never shows anything. Another one sends (outgoing.py).
"""

from __future__ import annotations

import itertools
import threading
from typing import Any, Protocol

from ..agent import wire
from ..errors import KpmagicError, TargetError, TargetLost
from ..targets import console
from ..targets.base import AGAIN, Channel, Target
from .command import TICK
from .incoming import Incoming
from .outgoing import Outgoing
from .refusals import to_error

PATIENCE = 60.0
HELLO_PATIENCE = 120.0
BEGINNING = ("start", "insmod", "peer")  # words that begin a run
LATER = ("run", "peer")  # words answered when something has ended; the agent does not wait for it
PLACE_SECONDS = 0.1  # for each probe of a module, which takes all of them out in one call


class Listener(Protocol):
    """Who takes the frames of one run number, in the reader's thread."""

    def on_frame(self, frame: wire.Frame) -> None:
        """Take one frame."""

    def on_lost(self) -> None:
        """Learn that no further frame will come."""


class Reply:
    """Where the answer to request ``number`` is put down.

    ``patience`` is how many seconds the agent may be busy with it and with nothing else.
    """

    def __init__(self, number: int, patience: float) -> None:
        self.number = number
        self.patience = patience
        self.done = threading.Event()
        self.message: dict[str, Any] = {}
        self.blob = b""

    def answer(self) -> tuple[dict[str, Any], bytes]:
        """Return the answer and its blob. Raises what refusals.KINDS says."""
        if "error" in self.message:
            raise to_error(self.message["error"])
        return dict(self.message.get("ok") or {}), self.blob


class Exchange:
    """The channel to a target's agent, and who waits for what of it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.hello: dict[str, Any] = {}
        self.failure = ""
        self._channel: Channel = target.open_agent()
        self._incoming = Incoming(self._channel)
        self._outgoing = Outgoing(self._channel, target.name)
        self._numbers = itertools.count(1)
        self._replies: dict[int, Reply] = {}
        self._listeners: dict[int, Listener] = {}
        self._places: dict[int, int] = {}  # run number → probes of its module
        self._lock = threading.Lock()
        self._greeted = threading.Event()
        self._gone = threading.Event()
        self._reader = threading.Thread(
            target=self._read_frames, name=f"kpmagic {target.name}", daemon=True
        )
        self._reader.start()

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def heard(self) -> int:
        """How often something has come."""
        return self._incoming.heard

    def wait_for_hello(self, patience: float = HELLO_PATIENCE) -> dict[str, Any]:
        """Return what the agent said first. Raises TargetError, TargetLost."""
        self._wait(self._greeted, patience, "its first word")
        protocol = self.hello.get("protocol")
        if protocol != wire.PROTOCOL:
            self.close()
            raise TargetError(
                f"the agent speaks protocol {protocol}, not {wire.PROTOCOL}",
                hint="kpmagic was replaced under this notebook: restart its Python kernel",
            )
        return self.hello

    def new_number(self) -> int:
        """Return a number no run of this connection has had. Raises TargetLost."""
        if self._gone.is_set():  # a run that cannot start again keeps the rows it has
            raise self.lost()
        return next(self._numbers)

    def listen(self, number: int, listener: Listener) -> None:
        """Have the frames of run ``number`` go to ``listener``. Raises TargetLost."""
        with self._lock:
            self._listeners[number] = listener
        if self._gone.is_set():
            raise self.lost()

    def forget(self, number: int) -> None:
        """Drop the frames of run ``number`` from now on."""
        with self._lock:
            self._listeners.pop(number, None)
            self._places.pop(number, None)

    def request(
        self,
        word: str,
        blob: bytes = b"",
        *,
        run: int = 0,
        timeout: float | None = PATIENCE,
        **arguments: Any,
    ) -> tuple[dict[str, Any], bytes]:
        """Ask the agent; return the answer and its blob. Times are s, None waits for ever.

        Raises what refusals.KINDS says, TargetLost, and TargetError when no answer comes.
        """
        reply = self.ask(word, blob, run=run, patience=timeout or 0.0, **arguments)
        try:
            if threading.current_thread() is self._reader:
                self._read_until(reply)
            else:
                self._wait(reply.done, timeout, f"an answer to {word!r}")
        except TargetLost:
            raise
        except TargetError:
            if word in BEGINNING:  # it may begin yet, and nobody would know of it
                self.tell("stop", run=run, reason="unanswered")
            raise
        finally:
            self.forget_reply(reply)
        return reply.answer()

    def ask(
        self, word: str, blob: bytes = b"", *, run: int = 0, patience: float = 0.0, **arguments: Any
    ) -> Reply:
        """Ask the agent without waiting; ``patience`` is a Reply's."""
        reply = Reply(self.new_number(), 0.0 if word in LATER else patience)
        with self._lock:
            self._replies[reply.number] = reply
            if arguments.get("module"):
                self._places[run] = len(arguments["programs"])
        message = wire.pack({"id": reply.number, "do": word, **arguments}, blob)
        self._outgoing.put(wire.encode(wire.REQUEST, run, message))
        return reply

    def tell(self, word: str, *, run: int = 0, **arguments: Any) -> None:
        """Ask the agent, and do not care for the answer."""
        self.ask(word, run=run, patience=PATIENCE, **arguments)

    def forget_reply(self, reply: Reply) -> None:
        """Nobody waits for this answer any more."""
        with self._lock:
            self._replies.pop(reply.number, None)

    def patience(self, least: float) -> float:
        """Return for how many seconds the agent may be silent: ``least`` when nothing is asked."""
        with self._lock:
            asked = [reply.patience for reply in self._replies.values()]
            return max([least, *asked]) + PLACE_SECONDS * sum(self._places.values())

    def wait_for_loss(self, seconds: float) -> bool:
        """Wait until it is closed or lost; say whether it is."""
        return self._gone.wait(seconds)

    def close(self) -> None:
        """Hang up and end the target. May be called twice."""
        self._channel.close()
        self.target.close()
        self._gone.set()

    def lost(self) -> TargetLost:
        """Return the error that says this target is gone, with its kernel's last words."""
        excerpt = console.excerpt(self.target.last_words())
        what = f"{self.name} is gone"
        if self.failure:
            what += f": {self.failure}"
        return TargetLost(f"{what}\n{excerpt}" if excerpt else what, hint=AGAIN)

    def _wait(self, event: threading.Event, patience: float | None, what: str) -> None:
        """Wait in short steps, so that an interrupt or a loss is seen."""
        waited = 0.0
        while not event.wait(TICK):
            if self._gone.is_set() and not event.is_set():
                raise self.lost()
            waited += TICK
            if patience is not None and waited > patience:
                raise TargetError(
                    f"{self.name} did not give {what} within {patience:.0f} s",
                    hint="run the cell again when the target is less busy; %kp clean ends it, and "
                    "the next cell starts it anew",
                )

    def _read_until(self, reply: Reply) -> None:
        """Read on to an answer, in the reader's own thread; runs get what comes before it later.

        Rows that go to a file have the names of their stacks from the target at once.
        """
        while not reply.done.is_set():
            frame = self._incoming.arriving()
            if frame is None:
                raise self.lost()
            if frame.type == wire.REPLY:
                self._dispatch(frame)
            else:
                self._incoming.postpone(frame)

    def _read_frames(self) -> None:
        try:
            while (frame := self._incoming.next()) is not None:
                self._dispatch(frame)
        except (wire.WireError, KpmagicError, OSError) as error:
            self.failure = str(error)
        except MemoryError:
            self.failure = "out of memory"
        finally:
            self._gone.set()
            self._outgoing.end()
            with self._lock:
                listeners = list(self._listeners.values())
            for listener in listeners:
                listener.on_lost()

    def _dispatch(self, frame: wire.Frame) -> None:
        if frame.type == wire.HELLO:
            self.hello = wire.unpack_json(frame.payload)
            self._greeted.set()
        elif frame.type == wire.REPLY:
            message, blob = wire.unpack(frame.payload)
            with self._lock:
                reply = self._replies.pop(message.get("id", 0), None)
            if reply is not None:
                reply.message, reply.blob = message, blob
                reply.done.set()
        else:
            over = frame.type == wire.END  # a run's last frame
            with self._lock:
                listener = self._listeners.get(frame.run)
                if over:
                    self._places.pop(frame.run, None)
                    self._listeners.pop(frame.run, None)
            if listener is not None:
                listener.on_frame(frame)
