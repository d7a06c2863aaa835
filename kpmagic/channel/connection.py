# SPDX-License-Identifier: MIT
"""What the notebook asks of a target: its kernel's facts, files, log, and shell commands."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import cache
from ..errors import TargetError
from ..targets.base import Progress, Target
from ..terminal import without_codes
from .command import Command
from .exchange import Exchange
from .heartbeat import Heartbeat

if TYPE_CHECKING:
    from ..cell.script import Script
    from ..kernel.facts import KernelFacts
    from ..model import Artifact, Module, Plan, Probe
    from ..saved.past import ModulePast

Output = Callable[[str, str], None]
"""Called with a stream's name (``stdout``, ``stderr``) and some of its text."""


class Connection(Exchange):
    """A target and the channel to its agent; what ``kpmagic.connect`` returns.

    Also a context manager. Closing it ends what runs there, and the target itself.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._facts: KernelFacts | None = None
        self._facts_lock = threading.Lock()
        lease = getattr(target, "lease", None)
        self._heartbeat = None if lease is None else Heartbeat(self, lease)
        _close_at_exit(self)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self.hello.get("release", "starting") if self.alive else "gone"
        return without_codes(f"<kpmagic.Connection {self.name} {state}>")

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
    def cwd_note(self) -> str:
        """Why ``cwd`` is not the notebook's own folder, where a user may expect that; or ``""``."""
        return str(getattr(self.target, "workdir_note", ""))

    @property
    def cpus(self) -> int:
        """The number of possible CPUs."""
        return int(self.hello.get("cpus", 1))

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

    def check_modules(self) -> None:
        """Raise what keeps a new module out of this kernel: NotPermitted, TargetError."""
        from ..kernel.fitness import check_modules

        self.require_kernel()
        check_modules(self.read, self.wait_for_hello())

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

    def prepared_script(self, asked: Script) -> Artifact | None:
        """Return what there is of a script on a target where nothing is traced, None elsewhere.

        Raises TargetError where there is nothing.
        """
        find = getattr(self.target, "prepared_script", None)
        found: Artifact | None = None if find is None else find(asked)
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

    def last_words(self) -> str:
        """Return what the target's kernel said when it died, or ``""``."""
        return self.target.last_words()

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
