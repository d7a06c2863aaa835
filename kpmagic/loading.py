# SPDX-License-Identifier: MIT
"""Recordings back as runs: all there is to see, and nothing left to control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from .channel.exchange import Listener
from .errors import RecordingError, TargetError, TargetLost
from .life import Life
from .model import Artifact
from .modules.kernel_log import records
from .modules.run import ModuleLife, ModuleRun
from .peers import saving as peers
from .peers.life import PeerLife
from .peers.run import PeerRun
from .rows.recording import Rows
from .run import Run
from .saved import recorded
from .saved.past import ModulePast, Past, PeerPast
from .view.card import CARD
from .view.module_card import MODULE_CARD
from .view.peer_card import PEER_CARD

HINT = "run its cell again; or kpmagic.connect('replay:PATH') is a target that plays it back"


def load(path: str | Path) -> Run | ModuleRun | PeerRun:
    """Return the finished Run that was saved to ``path``. Raises RecordingError.

    Opening a recording runs nothing of what it holds.
    """
    past, rows = recorded.read(path)
    try:
        if isinstance(past, ModulePast):
            return module_run_of(past, rows, str(path))
        if isinstance(past, PeerPast):
            return peer_run_of(past, rows, str(path))
        return run_of(past, rows, str(path))
    except (ValueError, TypeError, ArithmeticError, LookupError, MemoryError) as error:
        raise RecordingError(f"cannot read {str(path)!r}: it is damaged: {error}",
                             hint=recorded.DAMAGED) from None  # fmt: skip


def run_of(past: Past, rows: Rows, where: str) -> Run:
    """Return a recorded run as a Run. Raises RecordingError."""
    artifact = Artifact(past.source, b"", past.compiler, past.seconds, past.digest)
    life = Life.past(rows, past.outcome, past.maps)
    run = Run(Ended(past.target, where), past.plan, artifact, CARD, life)
    left_out = [vars(each) for each in past.left_out]
    run.info = {**past.info, **run.info, "started": past.started, "left_out": left_out}
    assert run.aggregates is not None  # decoded now, so that damage is found now
    return run


def module_run_of(past: ModulePast, log: Rows, where: str) -> ModuleRun:
    """Return a recorded run of a module. Raises RecordingError."""
    artifact = Artifact(past.source, b"", past.compiler, past.seconds, past.digest)
    life = ModuleLife(0, log, None).went(past.outcome)
    run = ModuleRun(Ended(past.target, where), past.module, artifact, past.release, MODULE_CARD,
                    life)  # fmt: skip
    run.build_warnings, run.lines = list(past.warnings), dict(past.lines)
    run.info |= {**past.info, "started": past.started}
    records(log)  # damage is found now
    return run


def peer_run_of(past: PeerPast, rows: Rows, where: str) -> PeerRun:
    """Return a recorded run of another tracer. Raises ValueError, RecordingError."""
    script = past.script
    if script.tool not in peers.OUTPUTS:
        raise ValueError(f"a run of {script.tool!r}")
    printed = peers.OUTPUTS[script.tool](script.text)
    peers.restore(printed, past.maps)
    life = PeerLife.past(printed, rows, past.outcome, past.said)
    connection = Ended(past.target, where, release=past.release)
    run = PeerRun(connection, script, PEER_CARD, life=life)
    run.info |= {"started": past.started, "start_seconds": past.start_seconds}
    assert run.aggregates is not None  # damage is found now
    return run


@dataclass(frozen=True)
class Ended:
    """What is left of the connection of a run that was loaded from ``where``."""

    name: str
    where: str
    hello: Mapping[str, Any] = field(default_factory=dict)
    cwd: str | None = None
    cwd_note: str = ""
    alive: bool = False
    remark: str = ""
    release: str = ""

    def new_number(self) -> NoReturn:
        """Refuse: nothing starts again."""
        self._refuse()

    def listen(self, number: int, listener: Listener) -> None:
        """Nothing comes."""

    def forget(self, number: int) -> None:
        """Nothing comes."""

    def request(
        self, word: str, blob: bytes = b"", *, run: int = 0, timeout: float | None = None,
        **arguments: Any,
    ) -> NoReturn:  # fmt: skip
        """Refuse: there is nobody to ask."""
        self._refuse()

    def tell(self, word: str, *, run: int = 0, **arguments: Any) -> None:
        """Nobody hears it."""

    def read(self, path: str, size: int | None = None) -> NoReturn:
        """Refuse: there is nobody to ask."""
        self._refuse()

    def run(self, command: str, on_output: Callable[[str, str], None] | None = None) -> NoReturn:
        """Refuse: there is nobody to ask."""
        self._refuse()

    def last_words(self) -> str:
        """Return nothing: what there was is in the recording."""
        return ""

    def lost(self) -> TargetLost:
        """Return the error that says that there is no target."""
        return TargetLost(f"{self.name} was left when this run was saved", hint=HINT)

    def _refuse(self) -> NoReturn:
        raise TargetError(f"this run comes from the recording {self.where!r}: it is over, and "
                          "cannot be started", hint=HINT)  # fmt: skip
