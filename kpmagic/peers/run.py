# SPDX-License-Identifier: MIT
"""The live object of a cell that another tracer runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..cell.script import Script
from ..channel.refusals import MissingRefusal, ToolRefusal
from ..control import Controlled
from ..errors import KpmagicError, TargetError
from ..life import Lived
from ..model import Artifact, Source
from ..outcome import Outcome
from ..rows.batches import Batches
from ..rows.recording import Rows
from ..run import Link
from ..shown import Shown, View
from ..stats import Stats
from ..tracers import missing
from . import saving
from .life import PeerLife
from .refusals import explain, in_the_cell

if TYPE_CHECKING:
    import pandas as pd

START_PATIENCE = 180.0  # s: a script of many probes on an emulated machine


class PeerLink(Link, Protocol):
    """What a tracer's run needs of a connection.Connection, or of what is left of one."""

    @property
    def release(self) -> str:
        """The kernel's release."""

    def run(self, command: str, on_output: Callable[[str, str], None] | None = None) -> int:
        """Run a command there; return its exit code. Raises TargetError."""


class PeerRun(Shown, Lived, Controlled):
    """A script's run by another tracer, live or finished.

    `df` has a row for each line it printed, `aggregates` are its maps. As a context manager it
    stops at the end of the block. ``life`` is that of a loaded one.
    """

    connection: PeerLink
    _life: PeerLife

    def __init__(
        self,
        connection: PeerLink,
        script: Script,
        view: View | None = None,
        settings: Mapping[str, Any] | None = None,
        artifact: Artifact | None = None,
        life: PeerLife | None = None,
    ) -> None:
        self.connection = connection
        self._settings = settings
        self.script = script
        self.options = script.options
        self.name = script.name
        self.failure: KpmagicError | None = None
        self.artifact = artifact or artifact_of(script)
        self.info: dict[str, Any] = {
            "kernel_release": connection.release,
            "backend": script.tool,
            "target": connection.name,
            "options": dict(vars(script.options)),
        }
        self._view = view
        self._life = self._new_life() if life is None else life

    def df(self, engine: str = "pandas") -> Any:
        """Return the lines it printed: time (of their arrival), type, text."""
        return self._life.rows.df(engine)

    def head(self, count: int) -> pd.DataFrame:
        """Return the first ``count`` lines."""
        return self._life.rows.head(count)

    @property
    def rows(self) -> Rows:
        """Its lines."""
        return self._life.rows

    @property
    def aggregates(self) -> dict[str, pd.DataFrame]:
        """Name → table of each map that was printed, as it was the last time."""
        return self._life.printed.aggregates()

    @property
    def stats(self) -> Stats:
        """``rows`` are its lines, ``dropped`` is its own count of events it has lost.

        It does not count the hits of its probes: ``hits`` are these two together.
        """
        rows, lost = self._life.rows.rows, self._life.printed.lost
        return Stats(hits=rows + lost, rows=rows, dropped=lost)

    @property
    def unit(self) -> str:
        """What its rows are."""
        return "event" if self.script.tool == "bcc" else "line"

    @property
    def source(self) -> str:
        """The script, as it was run."""
        return self.artifact.source.text

    @property
    def said(self) -> str:
        """What it wrote on its error output: warnings, and errors of the script."""
        return in_the_cell(self._life.said, self.script)

    def outcome(self) -> Outcome:
        """Return how it went, as a value."""
        outcome = self._life.outcome()
        words = self.lost().message if outcome.reason == "target-lost" else ""
        return replace(outcome, error=outcome.error or str(self.failure or ""), last_words=words)

    def save(self, path: str | Path) -> Path:
        """Write it to ``path``, a Parquet file that `kpmagic.load` reads; return the path.

        Another recording there is replaced. Raises CellError while it runs, and RecordingError.
        """
        return saving.save(self, path)

    def start(self) -> PeerRun:
        """Run the script. One that has ended runs again, and its old rows are dropped.

        Raises BuildError, MissingDependency, TargetError.
        """
        if self._life.number and not self._life.ended.is_set():
            return self
        self.failure = None
        life = self._life = self._new_life(self.connection.new_number())
        try:
            self.connection.listen(life.number, life)
            answer, _ = self._request(life)
        except BaseException as error:
            self._abandon(life, error)
            raise
        self.info |= {"start_seconds": answer.get("start_ns", 0) / 1e9, "started": time.time()}
        if self.connection.cwd_note:
            self.info["cwd_note"] = self.connection.cwd_note
        return self

    def _request(self, life: PeerLife) -> tuple[dict[str, Any], bytes]:
        try:
            return self.connection.request(
                "peer", self.artifact.object, run=life.number, timeout=START_PATIENCE,
                tool=self.script.tool, command=self.options.command, cwd=self.connection.cwd,
                max_ns=self.options.max_time or None, for_ns=self.options.duration,
                settings=None if self._settings is None else json.dumps(self._settings),
            )  # fmt: skip
        except MissingRefusal as refusal:
            raise missing(refusal.message, self.connection.name) from None
        except ToolRefusal as refusal:
            raise explain(refusal, self.script, self.connection.name, self._version) from None

    def _version(self) -> str:
        """Return what the tool says of its version, ``""`` when it does not."""
        said: list[str] = []
        try:
            self.connection.run(f"{self.script.tool} --version", lambda _, text: said.append(text))
        except TargetError:
            return ""
        return "".join(said)

    def __repr__(self) -> str:
        if self._view is None:
            return f"<kpmagic.PeerRun {self.name} {self.state} {self.rows.rows} lines>"
        return self._view.text(self)

    def _repr_html_(self) -> str | None:
        return None if self._view is None else self._view.html(self)

    def _new_life(self, number: int = 0) -> PeerLife:
        printed = saving.OUTPUTS[self.script.tool](self.script.text)
        arrive_as_arrow = self.connection.hello.get("rows") == "arrow"
        rows = Batches.like(printed, more=True) if arrive_as_arrow else printed
        life = PeerLife(number, printed, rows, self.options.command)
        if not number:
            life.ended.set()
        elif not self.replayed:
            life.ending = lambda: saving.finish(self, life)
        return life


def artifact_of(script: Script) -> Artifact:
    """Return a script as what is handed over."""
    source = Source({"script": script.text}, "script", (), 0, (), ())
    return Artifact(source, script.text.encode(), script.tool, 0.0, "")
