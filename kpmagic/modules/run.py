# SPDX-License-Identifier: MIT
"""The live object of %%kmodule: a module that is in a target's kernel, or was."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from ..agent import wire
from ..connection import Connection
from ..control import START_PATIENCE, Controlled
from ..errors import KpmagicError
from ..life import Lived, Workload
from ..model import Artifact
from ..shown import View
from ..stats import Stats
from . import oops
from .kernel_log import KernelLog
from .source import Module


class ModuleLife:
    """What has arrived of one time in the kernel, from ``insmod`` to its END frame."""

    def __init__(self, number: int, log: KernelLog, command: str | None) -> None:
        self.number = number
        self.log = log
        self.workload = None if command is None else Workload(command)
        self.reason = ""
        self.error = ""
        self.remarks: list[str] = []
        self.ended = threading.Event()

    @property
    def failed(self) -> bool:
        """Whether something went wrong, such as that it cannot be taken out."""
        return bool(self.error)

    def on_frame(self, frame: wire.Frame) -> None:
        """Take a frame, in the reader's thread."""
        if frame.type == wire.LOG:
            message = wire.unpack_json(frame.payload)
            self._on_log(str(message["stream"]), str(message["text"]))
        elif frame.type == wire.END:
            message, _ = wire.unpack(frame.payload)
            self.reason = str(message["reason"])
            self.error = str(message.get("error") or "")
            if self.workload is not None and message.get("workload"):
                self.workload.exit_code = message["workload"].get("exit_code")
            self.ended.set()

    def _on_log(self, stream: str, text: str) -> None:
        if stream == "kernel":
            self.log.feed(text)
        elif stream == "agent":
            self.remarks.append(text)
        elif self.workload is not None:
            setattr(self.workload, stream, getattr(self.workload, stream) + text)

    def on_lost(self) -> None:
        """No further frame will come."""
        if not self.ended.is_set():
            self.reason = "target-lost"
            self.ended.set()


class ModuleRun(Controlled, Lived):
    """A kernel module's run: in the kernel from start to stop; `df` is the kernel's log since.

    As a context manager it is removed at the end of the block.
    """

    connection: Connection
    _life: ModuleLife

    def __init__(
        self, connection: Connection, module: Module, artifact: Artifact, view: View | None = None
    ) -> None:
        self.connection = connection
        self.module = module
        self.artifact = artifact
        self.options = module.options
        self.name = module.name
        self.failure: KpmagicError | None = None
        self.build_warnings: list[str] = []
        self.info: dict[str, Any] = {
            "kernel_release": connection.release,
            "backend": "kmod",
            "target": connection.name,
            "options": dict(vars(module.options)),
            "compiler": artifact.compiler,
            "build_seconds": artifact.seconds,
            "note": module.note,
        }
        self._view = view
        self._life = self._new_life()

    def df(self, engine: str = "pandas") -> Any:
        """Return the kernel's log since it was loaded: time, level, text."""
        return self._life.log.df(engine)

    @property
    def log(self) -> KernelLog:
        """The kernel's log since it was loaded."""
        return self._life.log

    @property
    def stats(self) -> Stats:
        """``rows`` are the lines of the log; a module counts nothing else."""
        return Stats(rows=self._life.log.rows)

    @property
    def source(self) -> str:
        """The source that was compiled."""
        return self.artifact.source.text

    @property
    def last_words(self) -> str:
        """What the kernel said when it died with the module in it, or ``""``."""
        return self.connection.target.last_words() if self.stopped_by == "target-lost" else ""

    def oops(self) -> list[oops.Frame]:
        """Return the frames of the kernel's oops, innermost first; the module's with their lines.

        A line is one of the cell as the user sees it.
        """
        found = oops.frames(self.last_words)
        located = oops.with_lines(found, self.name, self.artifact.object, f"{self.name}.c")
        first = self.module.body_line - 1
        return [replace(each, line=each.line + first if each.line else 0) for each in located]

    def usage(self) -> tuple[int, int, str] | None:
        """Return size in bytes, how many use it, and who, as ``lsmod`` does; None when it is out.

        Raises TargetError.
        """
        lines = self.connection.read("/proc/modules").decode(errors="replace").splitlines()
        words = next((line.split() for line in lines if line.startswith(f"{self.name} ")), None)
        if words is None:
            return None
        return int(words[1]), int(words[2]), words[3].strip(",-")

    def start(self) -> ModuleRun:
        """Load the module. One that is out is loaded again, and its old log is dropped.

        Raises AttachError, NotPermitted, TargetError.
        """
        if self._life.number and not self._life.ended.is_set():
            return self
        self.failure = None
        life = self._life = self._new_life(self.connection.new_number())
        self.connection.listen(life.number, life)
        try:
            answer, _ = self.connection.request(
                "insmod", self.artifact.object, run=life.number, timeout=START_PATIENCE,
                name=self.name, command=self.options.command, cwd=self.connection.cwd,
                max_ns=self.options.max_time, for_ns=self.options.duration,
            )  # fmt: skip
        except BaseException as error:
            self._abandon(life, error)
            raise
        self.info |= {
            "size": answer.get("size", 0),
            "load_seconds": answer.get("load_ns", 0) / 1e9,
            "started": time.time(),
        }
        return self

    def __repr__(self) -> str:
        if self._view is None:
            return f"<kpmagic.ModuleRun {self.name} {self.state} {self.log.rows} lines>"
        return self._view.text(self)

    def _repr_html_(self) -> str | None:
        return None if self._view is None else self._view.html(self)

    def _new_life(self, number: int = 0) -> ModuleLife:
        offset = int(self.connection.hello.get("realtime_minus_monotonic", 0))
        life = ModuleLife(number, KernelLog(offset), self.options.command)
        if not number:
            life.ended.set()
        return life
