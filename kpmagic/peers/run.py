# SPDX-License-Identifier: MIT
"""The live object of a cell that another tracer runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent import wire
from ..channel.connection import Connection
from ..channel.refusals import MissingRefusal, ToolRefusal
from ..control import Controlled
from ..errors import CellError, KpmagicError, TargetError, TargetLost
from ..life import Lived, Workload
from ..model import Artifact, Source
from ..shown import Shown, View
from ..stats import Stats
from ..tracers import missing
from .bcc_output import BccOutput
from .output import Output
from .refusals import explain, in_the_cell
from .script import Script

if TYPE_CHECKING:
    import pandas as pd

AnyOutput = Output | BccOutput
OUTPUTS: dict[str, Callable[[str], AnyOutput]] = {"bpftrace": Output, "bcc": BccOutput}
START_PATIENCE = 180.0  # s: a script of many probes on an emulated machine


class PeerLife:
    """What has arrived of one run of a tracer."""

    def __init__(self, number: int, output: AnyOutput, command: str | None) -> None:
        self.number = number
        self.output = output
        self.workload = None if command is None else Workload(command)
        self.reason = ""
        self.error = ""
        self.said = ""
        self.remarks: list[str] = []
        self.ended = threading.Event()

    def on_frame(self, frame: wire.Frame) -> None:
        """Take a frame, in the reader's thread."""
        if frame.type == wire.DATA:
            self.output.feed(frame.payload)
        elif frame.type == wire.LOG:
            message = wire.unpack_json(frame.payload)
            self._on_log(str(message["stream"]), str(message["text"]))
        elif frame.type == wire.END:
            message, _ = wire.unpack(frame.payload)
            self.output.end()
            self.error = str(message.get("error") or "")
            if self.workload is not None and message.get("workload"):
                self.workload.exit_code = message["workload"].get("exit_code")
            self.reason = str(message["reason"])
            self.ended.set()

    def _on_log(self, stream: str, text: str) -> None:
        if stream == "tool":
            self.said += text
        elif stream == "agent":
            self.remarks.append(text)
        elif self.workload is not None:
            setattr(self.workload, stream, getattr(self.workload, stream) + text)

    @property
    def failed(self) -> bool:
        """Whether it went otherwise than it should."""
        return bool(self.error)

    def on_lost(self) -> None:
        """No further frame will come."""
        if not self.ended.is_set():
            self.output.end()
            self.reason = "target-lost"
            self.ended.set()


class PeerRun(Shown, Lived, Controlled):
    """A script's run by another tracer, live or finished.

    `df` has a row for each line it printed, `aggregates` are its maps. As a context manager it
    stops at the end of the block.
    """

    connection: Connection
    _life: PeerLife

    def __init__(
        self,
        connection: Connection,
        script: Script,
        view: View | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.connection = connection
        self._settings = settings
        self.script = script
        self.options = script.options
        self.name = script.name
        self.failure: KpmagicError | None = None
        source = Source({"script": script.text}, "script", (), 0, (), ())
        self.artifact = Artifact(source, script.text.encode(), script.tool, 0.0, "")
        self.info: dict[str, Any] = {
            "kernel_release": connection.release,
            "backend": script.tool,
            "target": connection.name,
            "options": dict(vars(script.options)),
        }
        self._view = view
        self._life = self._new_life()

    def df(self, engine: str = "pandas") -> Any:
        """Return the lines it printed: time (of their arrival), type, text."""
        return self._life.output.df(engine)

    def head(self, count: int) -> pd.DataFrame:
        """Return the first ``count`` lines."""
        frame: pd.DataFrame = self._life.output.df(limit=count)
        return frame

    @property
    def aggregates(self) -> dict[str, pd.DataFrame]:
        """Name → table of each map that was printed, as it was the last time."""
        return self._life.output.aggregates()

    @property
    def stats(self) -> Stats:
        """``rows`` are its lines, ``dropped`` is its own count of events it has lost.

        It does not count the hits of its probes: ``hits`` are these two together.
        """
        output = self._life.output
        return Stats(hits=output.rows + output.lost, rows=output.rows, dropped=output.lost)

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

    def lost(self) -> TargetLost:
        """Return the error that says how its target went."""
        return self.connection.lost()

    def save(self, path: str | Path) -> Path:
        """Refuse: only probes are recorded. Raises CellError."""
        raise CellError(f"a run of {self.script.tool} cannot be saved",
                        hint="df().to_parquet(PATH) keeps its rows")  # fmt: skip

    def start(self) -> PeerRun:
        """Run the script. One that has ended runs again, and its old rows are dropped.

        Raises BuildError, MissingDependency, TargetError.
        """
        if self._life.number and not self._life.ended.is_set():
            return self
        self.failure = None
        life = self._life = self._new_life(self.connection.new_number())
        self.connection.listen(life.number, life)
        try:
            answer, _ = self._request(life)
        except BaseException as error:
            self._abandon(life, error)
            raise
        self.info |= {"start_seconds": answer.get("start_ns", 0) / 1e9, "started": time.time()}
        return self

    def _request(self, life: PeerLife) -> tuple[dict[str, Any], bytes]:
        try:
            return self.connection.request(
                "peer", self.artifact.object, run=life.number, timeout=START_PATIENCE,
                tool=self.script.tool, command=self.options.command, cwd=self.connection.cwd,
                max_ns=self.options.max_time, for_ns=self.options.duration,
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
            return f"<kpmagic.PeerRun {self.name} {self.state} {self._life.output.rows} lines>"
        return self._view.text(self)

    def _repr_html_(self) -> str | None:
        return None if self._view is None else self._view.html(self)

    def _new_life(self, number: int = 0) -> PeerLife:
        life = PeerLife(number, OUTPUTS[self.script.tool](self.script.text), self.options.command)
        if not number:
            life.ended.set()
        return life
