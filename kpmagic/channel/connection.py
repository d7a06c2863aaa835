# SPDX-License-Identifier: MIT
"""The notebook's end of the channel to one target's agent.

One daemon thread reads frames and hands them on: replies to whoever asked, a run's frames to its
run. That thread never prints and never shows anything.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Protocol

from .. import cache
from ..agent import wire
from ..errors import KpmagicError, TargetError, TargetLost
from ..targets.base import Channel, Progress, Target
from .command import TICK, Command
from .heartbeat import Heartbeat
from .refusals import to_error

if TYPE_CHECKING:
    from ..kernel.facts import KernelFacts
    from ..model import Artifact, Module, Plan, Probe
    from ..saved.past import ModulePast

PATIENCE = 60.0
HELLO_PATIENCE = 120.0
EXCERPT_LINES = 12

Output = Callable[[str, str], None]
"""Called with a stream's name (``stdout``, ``stderr``) and some of its text."""


class Listener(Protocol):
    """Who takes the frames of one run number, in the reader's thread."""

    def on_frame(self, frame: wire.Frame) -> None:
        """Take one frame."""

    def on_lost(self) -> None:
        """Learn that no further frame will come."""


class Reply:
    """Where the answer to request ``number``, a ``word``, is put down."""

    def __init__(self, number: int, word: str) -> None:
        self.number = number
        self.word = word
        self.done = threading.Event()
        self.message: dict[str, Any] = {}
        self.blob = b""

    def answer(self) -> tuple[dict[str, Any], bytes]:
        """Return the answer and its blob. Raises what refusals.KINDS says."""
        if "error" in self.message:
            raise to_error(self.message["error"])
        return dict(self.message.get("ok") or {}), self.blob


class Connection:
    """A target and the channel to its agent; what ``kpmagic.connect`` returns.

    Also a context manager. Closing it ends what runs there, and the target itself.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.hello: dict[str, Any] = {}
        self.failure = ""
        self.heard = 0  # how often something has come
        self._channel: Channel = target.open_agent()
        self._numbers = itertools.count(1)
        self._replies: dict[int, Reply] = {}
        self._listeners: dict[int, Listener] = {}
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._greeted = threading.Event()
        self._gone = threading.Event()
        self._facts: KernelFacts | None = None
        self._facts_lock = threading.Lock()
        self._reader = threading.Thread(
            target=self._read_frames, name=f"kpmagic {target.name}", daemon=True
        )
        self._reader.start()
        lease = getattr(target, "lease", None)
        self._heartbeat = None if lease is None else Heartbeat(self, lease)
        _close_at_exit(self)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self.hello.get("release", "starting") if self.alive else "gone"
        return f"<kpmagic.Connection {self.name} {state}>"

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def alive(self) -> bool:
        """Whether it still answers, as far as is known without asking."""
        return not self._gone.is_set() and self.target.alive

    @property
    def remark(self) -> str:
        """What a user should know of it now: that it has fallen silent; or ``""``."""
        return "" if self._heartbeat is None or not self.alive else self._heartbeat.remark

    @property
    def release(self) -> str:
        """The kernel's release, as ``uname -r`` prints it."""
        return str(self.hello.get("release", ""))

    @property
    def cwd(self) -> str | None:
        """The directory there in which commands run, None where the target has no opinion."""
        where = getattr(self.target, "cwd", None)
        return None if where is None else str(where)

    @property
    def cpus(self) -> int:
        """The number of possible CPUs."""
        return int(self.hello.get("cpus", 1))

    def wait_for_hello(self, patience: float = HELLO_PATIENCE) -> dict[str, Any]:
        """Return what the agent said first. Raises TargetError, TargetLost."""
        self._wait(self._greeted, patience, "its first word")
        protocol = self.hello.get("protocol")
        if protocol != wire.PROTOCOL:
            self.close()
            raise TargetError(f"the agent speaks protocol {protocol}, not {wire.PROTOCOL}")
        return self.hello

    def require_kernel(self) -> None:
        """Raise TargetError where there is none: on a replay."""
        if "no_kernel" in self.wait_for_hello():
            raise TargetError(str(self.hello["no_kernel"]),
                              hint="%kp target sandbox has one")  # fmt: skip

    def check_kernel(self) -> None:
        """Raise what keeps this kernel from being probed: NotPermitted, TargetError."""
        from ..kernel.fitness import check

        self.require_kernel()
        check(self.read, self.wait_for_hello(), self.target.kernel_btf() is not None)

    def facts(self, progress: Progress | None = None) -> KernelFacts:
        """Return what is true of this kernel, gathered once. Raises TargetError."""
        with self._facts_lock:
            # the notebook's cache may be emptied by another
            if self._facts is None or not self._facts.btf_file.exists():
                from ..kernel.facts import gather

                self.check_kernel()
                self._facts = gather(
                    self.read,
                    self.wait_for_hello(),
                    cache.directory(),
                    btf=self.target.kernel_btf(),
                    inline=getattr(getattr(self.target, "kernel", None), "inline", None),
                    progress=progress,
                )
            return self._facts

    @property
    def known_facts(self) -> KernelFacts | None:
        """What `facts` has gathered, None while it has not: never waits."""
        return self._facts

    def prepared_module(self, asked: Module) -> tuple[ModulePast, Artifact] | None:
        """Return what there is of a module on a target where nothing is built, None elsewhere.

        Raises TargetError where there is nothing.
        """
        find = getattr(self.target, "prepared_module", None)
        found: tuple[ModulePast, Artifact] | None = None if find is None else find(asked)
        return found

    def prepared(self, asked: Probe) -> tuple[Plan, Artifact] | None:
        """Return what there is of a probe on a target where nothing is built, None elsewhere.

        Raises TargetError where there is nothing.
        """
        find = getattr(self.target, "prepared", None)
        found: tuple[Plan, Artifact] | None = None if find is None else find(asked)
        return found

    def facts_with_modules(self) -> KernelFacts:
        """Return the facts with the symbols of the modules loaded now. Raises TargetError."""
        from ..kernel.facts import with_modules

        return with_modules(self.facts(), self.read)

    def new_number(self) -> int:
        """Return a number no run of this connection has had."""
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
        if threading.current_thread() is self._reader:
            raise TargetError(f"{word!r} is asked where its answer would be read")
        reply = self.ask(word, blob, run=run, **arguments)
        try:
            self._wait(reply.done, timeout, f"an answer to {word!r}")
        finally:
            self.forget_reply(reply)
        return reply.answer()

    def ask(self, word: str, blob: bytes = b"", *, run: int = 0, **arguments: Any) -> Reply:
        """Ask the agent without waiting. Raises TargetLost."""
        reply = Reply(self.new_number(), word)
        with self._lock:
            self._replies[reply.number] = reply
        self._send(run, wire.pack({"id": reply.number, "do": word, **arguments}, blob))
        return reply

    def tell(self, word: str, *, run: int = 0, **arguments: Any) -> None:
        """Ask the agent, and do not care for the answer. Raises TargetLost."""
        self.forget_reply(self.ask(word, run=run, **arguments))

    def forget_reply(self, reply: Reply) -> None:
        """Nobody waits for this answer any more."""
        with self._lock:
            self._replies.pop(reply.number, None)

    def waits_for(self, words: Collection[str]) -> bool:
        """Say whether somebody waits for an answer to one of these."""
        with self._lock:
            return any(reply.word in words for reply in self._replies.values())

    def wait_for_loss(self, seconds: float) -> bool:
        """Wait until it is closed or lost; say whether it is."""
        return self._gone.wait(seconds)

    def give_up(self, why: str) -> None:
        """Take the target for lost."""
        self.failure = why
        self._channel.close()
        self.target.close()

    def read(self, path: str, size: int | None = None) -> bytes:
        """Return a file of the target, or its first ``size`` bytes. Raises TargetError."""
        return self.request("read", path=path, size=size)[1]

    def run(self, command: str, on_output: Output | None = None, cwd: str | None = None) -> int:
        """Run the shell ``command`` on the target and return its exit code.

        ``on_output`` is called by the caller's own thread. An interrupt kills the command.
        """
        running = Command(self, command, cwd or self.cwd)
        for stream, text in running.output():
            if on_output is not None:
                on_output(stream, text)
        return running.exit_code

    def kernel_log(self) -> list[str]:
        """Return the kernel's log, raw records of /dev/kmsg. Raises TargetError."""
        answer, _ = self.request("log")
        return [str(line) for line in answer["lines"]]

    def close(self) -> None:
        """Hang up and end the target. May be called twice."""
        self._channel.close()
        self.target.close()
        self._gone.set()

    def last_words(self) -> str:
        """Return what the target's kernel said when it died, or ``""``."""
        return self.target.last_words()

    def lost(self) -> TargetLost:
        """Return the error that says this target is gone, with its kernel's last words."""
        words = self.target.last_words().strip()
        what = f"{self.name} is gone"
        if self.failure:
            what += f": {self.failure}"
        excerpt = "\n".join(words.splitlines()[:EXCERPT_LINES])
        hint = "run the cell again: the target is started, or connected to, anew"
        return TargetLost(f"{what}\n{excerpt}" if excerpt else what, hint=hint)

    def _send(self, run: int, payload: bytes) -> None:
        if self._gone.is_set():
            raise self.lost()
        frame = wire.encode(wire.REQUEST, run, payload)
        with self._send_lock:
            self._channel.send(frame)

    def _wait(self, event: threading.Event, patience: float | None, what: str) -> None:
        """Wait in short steps, so that an interrupt or a loss is seen."""
        waited = 0.0
        while not event.wait(TICK):
            if self._gone.is_set() and not event.is_set():
                raise self.lost()
            waited += TICK
            if patience is not None and waited > patience:
                raise TargetError(f"{self.name} did not give {what} within {patience:.0f} s")

    def _read_frames(self) -> None:
        reader = wire.Reader()
        try:
            while data := self._channel.receive():
                self.heard += 1
                for frame in reader.feed(data):
                    self._dispatch(frame)
        except (wire.WireError, KpmagicError, OSError) as error:
            self.failure = str(error)
        except MemoryError:
            self.failure = "out of memory"
        finally:
            self._gone.set()
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
                reply = self._replies.get(message.get("id", 0))
            if reply is not None:
                reply.message, reply.blob = message, blob
                reply.done.set()
        else:
            with self._lock:
                listener = self._listeners.get(frame.run)
            if listener is not None:
                listener.on_frame(frame)


_open: weakref.WeakSet[Connection] = weakref.WeakSet()


def _close_at_exit(connection: Connection) -> None:
    if not _open:
        atexit.register(_close_all, os.getpid())
    _open.add(connection)


def _close_all(owner: int) -> None:
    if os.getpid() != owner:  # a forked child ends: what it inherited is its parent's
        return
    for connection in list(_open):
        connection.close()
