# SPDX-License-Identifier: MIT
"""The run of %%kmodule: a module that is in a target's kernel, or was, or was recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..agent import wire
from ..channel.refusals import ModuleRefusal
from ..control import START_PATIENCE, Controlled
from ..errors import KpmagicError
from ..life import AnyLife, Lived
from ..model import Artifact, Module
from ..rows.batches import Batches
from ..rows.recording import Rows
from ..run import Link
from ..shown import Shown, View
from ..stats import Stats
from ..targets.base import EXPENDABLE
from . import oops, saving
from .kernel_log import KernelLog
from .refusals import explain

if TYPE_CHECKING:
    import pandas as pd


class ModuleLink(Link, Protocol):
    """What a module's run needs of a connection.Connection, or of what is left of one."""

    def read(self, path: str, size: int | None = None) -> bytes:
        """Return a file's content on the target. Raises TargetError."""

    def last_words(self) -> str:
        """Return what the kernel said when it died, or ``""``."""


class ModuleLife(AnyLife):
    """What has arrived of one time in the kernel, from ``insmod`` to its END frame."""

    def __init__(self, number: int, log: Rows, command: str | None) -> None:
        super().__init__(number, command)
        self.log = log

    def _take(self, frame: wire.Frame) -> None:
        if frame.type == wire.LOG:
            self._on_log(frame)
        elif frame.type == wire.DATA:  # of a replay
            self.log.feed(frame.payload)
        elif frame.type == wire.END:
            self._on_end(wire.unpack(frame.payload)[0])

    def _on_text(self, stream: str, text: str) -> None:
        if stream == "kernel":
            self.log.feed(text.encode("utf-8", "surrogatepass"))
        else:
            super()._on_text(stream, text)


class ModuleRun(Shown, Lived, Controlled):
    """A kernel module's run: in the kernel from start to stop; `df` is the kernel's log since.

    As a context manager it is removed at the end of the block. ``life`` is that of a loaded one.
    ``exists`` says whether the kernel has a function.
    """

    connection: ModuleLink
    _life: ModuleLife

    def __init__(
        self,
        connection: ModuleLink,
        module: Module,
        artifact: Artifact,
        release: str,
        view: View | None = None,
        life: ModuleLife | None = None,
        exists: Callable[[str], bool] = bool,
    ) -> None:
        self.connection = connection
        self._exists = exists
        self.module = module
        self.artifact = artifact
        self.options = module.options
        self.name = module.name
        self.failure: KpmagicError | None = None
        self.build_warnings: list[str] = []
        self.lines: dict[str, int] | None = None  # of a recorded oops
        self.info: dict[str, Any] = {
            "kernel_release": release,
            "backend": "kmod",
            "target": connection.name,
            "options": dict(vars(module.options)),
            "compiler": artifact.compiler,
            "build_seconds": artifact.seconds,
            "note": module.note,
        }
        self._view = view
        self._life = self._new_life() if life is None else life

    def df(self, engine: str = "pandas") -> Any:
        """Return the kernel's log since it was loaded: time, level, text."""
        return self._life.log.df(engine)

    @property
    def log(self) -> Rows:
        """The kernel's log since it was loaded."""
        return self._life.log

    @property
    def aggregates(self) -> dict[str, pd.DataFrame]:
        """Nothing: a log has no tables besides."""
        return {}

    @property
    def stats(self) -> Stats:
        """``rows`` are the lines of the log, and so are ``hits``: a module counts nothing else."""
        rows = self._life.log.rows
        return Stats(hits=rows, rows=rows)

    @property
    def source(self) -> str:
        """The source that was compiled."""
        return self.artifact.source.text

    @property
    def last_words(self) -> str:
        """What the kernel said when it died with the module in it, or ``""``."""
        if self.stopped_by != "target-lost":
            return ""
        return self._life.last_words or self.connection.last_words()

    def oops(self) -> list[oops.Frame]:
        """Return the frames of the kernel's oops, innermost first; the module's with their lines.

        A line is one of the cell as the user sees it.
        """
        found = oops.frames(self.last_words)
        if self.lines is not None:
            return [replace(each, line=self.lines.get(each.place, 0)) for each in found]
        located = oops.with_lines(found, self.name, self.artifact.object, f"{self.name}.c")
        first = self.module.body_line - 1
        return [replace(each, line=each.line + first if each.line else 0) for each in located]

    def save(self, path: str | Path) -> Path:
        """Write it to ``path``, a Parquet file that `kpmagic.load` reads; return the path.

        Another recording there is replaced. Raises CellError while it runs, and RecordingError.
        """
        return saving.save(self, path)

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
        life = self._new_life(self.connection.new_number())
        self._life, self.failure, self.lines = life, None, None
        try:
            self.connection.listen(life.number, life)
            answer, _ = self.connection.request(
                "insmod", self.artifact.object, run=life.number, timeout=START_PATIENCE,
                name=self.name, command=self.options.command, cwd=self.connection.cwd,
                max_ns=self.options.max_time or None, for_ns=self.options.duration,
                expendable=self.connection.name == EXPENDABLE,
            )  # fmt: skip
        except BaseException as error:
            self._abandon(life, error)
            if not isinstance(error, ModuleRefusal):
                raise
            self.failure = explain(error, self.module, self._exists)
            raise self.failure from None
        self.lines = answer.get("lines")
        self.info |= {
            "size": answer.get("size", 0),
            "load_seconds": answer.get("load_ns", 0) / 1e9,
            "started": time.time(),
        }
        if self.connection.cwd_note:
            self.info["cwd_note"] = self.connection.cwd_note
        return self

    def __repr__(self) -> str:
        if self._view is None:
            return f"<kpmagic.ModuleRun {self.name} {self.state} {self.log.rows} lines>"
        return self._view.text(self)

    def _repr_html_(self) -> str | None:
        return None if self._view is None else self._view.html(self)

    def _new_life(self, number: int = 0) -> ModuleLife:
        log: Rows = KernelLog(int(self.connection.hello.get("realtime_minus_monotonic", 0)))
        if self.connection.hello.get("rows") == "arrow":
            log = Batches.like(log)
        life = ModuleLife(number, log, self.options.command)
        if not number:
            life.ended.set()
        elif not self.replayed:
            life.ending = lambda: saving.finish(self, life)
        return life
