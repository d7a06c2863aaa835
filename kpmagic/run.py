# SPDX-License-Identifier: MIT
"""The live object: a probe that runs or has run on a target."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import aggregates, options
from .connection import Connection
from .errors import KpmagicError, TargetError, TargetLost
from .life import Life, Workload
from .model import Artifact, Plan, Program, Site
from .recording import Recording, site_name
from .refusals import VerifierRefusal
from .shown import Shown, View
from .stats import Stats, account

if TYPE_CHECKING:
    import pandas as pd

STOP_PATIENCE = 10.0
START_PATIENCE = 60.0


class Run(Shown):
    """A probe's run, live or finished; what every probe magic and ``kpmagic.probe`` return.

    As a context manager it stops at the end of the block.
    """

    def __init__(
        self, connection: Connection, plan: Plan, artifact: Artifact, view: View | None = None
    ) -> None:
        self.connection = connection
        self.plan = plan
        self.artifact = artifact
        self.options = plan.probe.options
        self.name = self.options.name or default_name(plan)
        self.info: dict[str, Any] = _info(connection, plan, artifact)
        self.failure: KpmagicError | None = None
        self.verifier_log = ""
        self._view = view
        self._life = self._new_life()
        self._aggregates: dict[str, pd.DataFrame] | None = None

    # -- what it has seen -------------------------------------------------------------------

    def df(self, engine: str = "pandas") -> Any:
        """Return the rows so far: ``pandas`` or ``polars`` DataFrame, or an ``arrow`` Table."""
        return self._life.recording.df(engine)

    @property
    def recording(self) -> Recording:
        """The rows, as columns."""
        return self._life.recording

    @property
    def aggregates(self) -> dict[str, pd.DataFrame]:
        """Label → table: keys, then ``count``/``value``, or ``low``, ``high``, ``count``.

        While the probe runs, as the target has it now; afterwards, the last.
        """
        described = self.artifact.source.aggregates
        if not described:
            return {}
        if self._aggregates is not None:
            return dict(self._aggregates)
        life = self._life
        over = life.ended.is_set()
        index, blob = life.maps if over else self._live_maps()
        cpus = self.connection.cpus
        found = aggregates.decode_all(described, index, blob, cpus)
        if over:
            self._aggregates = found
        return dict(found)

    def _live_maps(self) -> tuple[list[dict[str, Any]], bytes]:
        try:
            answer, blob = self.connection.request("aggregates", run=self._life.number)
        except TargetError:
            if not self._life.ended.wait(1.0):
                raise
            return self._life.maps
        return answer["maps"], blob

    @property
    def stats(self) -> Stats:
        """The numbers so far; exact once the run has ended."""
        life = self._life
        return account(
            life.counters,
            life.recording.rows,
            over=life.ended.is_set(),
            is_return=self.plan.probe.kind == "kretprobe",
            missed=life.missed,
            in_flight=life.in_flight,
        )

    @property
    def workload(self) -> Workload | None:
        """The command of ``--while`` with its exit code and output; None without one."""
        return self._life.workload

    @property
    def source(self) -> str:
        """The generated source."""
        return self.artifact.source.text

    @property
    def state(self) -> str:
        """``running``, ``stopped`` or ``failed``."""
        if self._life.reason == "error" or self.failure is not None:
            return "failed"
        return "stopped" if self._life.ended.is_set() else "running"

    @property
    def stopped_by(self) -> str | None:
        """What ended it: for, while, max-events, max-time, user, interrupt, target-lost, …"""
        return self._life.reason or None

    @property
    def error(self) -> str:
        """What went wrong while it ran, or ``""``."""
        return self._life.error

    @property
    def losses(self) -> list[tuple[int, int, int]]:
        """Each (rows that had arrived before, and after, rows dropped meanwhile)."""
        return list(self._life.losses)

    @property
    def remarks(self) -> list[str]:
        """What the agent had to say about this run."""
        return list(self._life.remarks)

    @property
    def age(self) -> float:
        """Seconds since it was attached."""
        return time.time() - float(self.info.get("started", time.time()))

    # -- control ----------------------------------------------------------------------------

    def start(self) -> Run:
        """Attach the probe. One that has ended starts again, and its old rows are dropped.

        Raises VerifierError, AttachError, NotPermitted, TargetError.
        """
        if self._life.number and not self._life.ended.is_set():
            return self
        self.failure, self._aggregates = None, None
        life = self._life = self._new_life(self.connection.new_number())
        self.connection.listen(life.number, life)
        before = time.monotonic()
        try:
            answer, _ = self._request_start(life)
        except BaseException as error:
            self._abandon(life, error)
            raise
        self.info |= {
            "load_seconds": answer.get("load_ns", 0) / 1e9,
            "attach_seconds": answer.get("attach_ns", 0) / 1e9,
            "start_seconds": time.monotonic() - before,
            "attached": answer.get("attached", []),
            "left_out": _left_out(self.plan, self.artifact) + _refused(answer),
            "started": time.time(),
        }
        return self

    def _request_start(self, life: Life) -> tuple[dict[str, Any], bytes]:
        arguments = start_arguments(self.plan, self.artifact)
        try:
            return self.connection.request(
                "start", self.artifact.object, run=life.number, timeout=START_PATIENCE,
                cwd=self.connection.cwd, **arguments,
            )  # fmt: skip
        except VerifierRefusal as refusal:
            from .verifier import explain

            self.verifier_log = refusal.log
            program = refusal.program or self.artifact.source.programs[0].program
            raise explain(refusal.log, program, self.artifact, self.plan.probe) from None

    def _abandon(self, life: Life, error: BaseException) -> None:
        """Leave nothing of a start that failed or was interrupted."""
        if isinstance(error, KpmagicError):
            self.failure = error
        else:
            with contextlib.suppress(TargetError):  # it may not have come so far
                self.connection.request("stop", run=life.number, reason="interrupt")
        life.reason = life.reason or "error"
        life.ended.set()
        self.connection.forget(life.number)

    def stop(self, reason: str = "user") -> Run:
        """End it and wait for its last rows. Harmless when it has ended already."""
        life = self._life
        if not life.ended.is_set():
            try:
                self.connection.request("stop", run=life.number, reason=reason)
            except TargetLost:
                life.on_lost()
            except TargetError:
                if not life.ended.wait(1.0):  # it may have ended by itself meanwhile
                    raise
            life.ended.wait(STOP_PATIENCE)
        return self

    def wait(self, timeout: float | str | None = None) -> bool:
        """Wait until it has ended, at most ``timeout`` (s, or ``"5s"``); say whether it has."""
        limit = None if timeout is None else options.duration(timeout) / 1e9
        end = None if limit is None else time.monotonic() + limit
        # short waits, so that an interrupt is noticed at once on every platform
        while not self._life.ended.wait(0.1):
            if end is not None and time.monotonic() >= end:
                return False
        return True

    def finish(self) -> Run:
        """Wait until it has ended; an interrupt ends it and keeps the data."""
        try:
            self.wait()
        except KeyboardInterrupt:
            self.stop("interrupt")
        return self

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- showing ----------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self._view is None:
            return f"<kpmagic.Run {self.name} {self.state} {self.recording.rows} rows>"
        return self._view.text(self)

    def _repr_html_(self) -> str | None:
        return None if self._view is None else self._view.html(self)

    def _new_life(self, number: int = 0) -> Life:
        source = self.artifact.source
        offset = int(self.connection.hello.get("realtime_minus_monotonic", 0))
        recording = Recording(source.layouts, self.plan.sites, source.record_size, offset)
        life = Life(number, recording, self.options.command)
        if not number:
            life.ended.set()
        return life


def default_name(plan: Plan) -> str:
    """Return a probe's name when the user gave none: its symbol, or the places as typed."""
    specs = plan.probe.specs
    if len(specs) == 1 and not specs[0].wild:
        return site_name(plan.sites[0]) or specs[0].text
    return ",".join(spec.text for spec in specs)


def start_arguments(plan: Plan, artifact: Artifact) -> dict[str, Any]:
    """Return the arguments of the agent's ``start``; see agent/wire.py."""
    chosen, source = plan.probe.options, artifact.source
    return {
        "programs": [_program(program) for program in source.programs],
        "config": {
            "max_rows": chosen.max_events,
            "pid": chosen.pid,
            "cpu": chosen.cpu,
            "sample": chosen.sample,
            "comm": chosen.comm,
        },
        "record": source.record_size,
        "buffer": chosen.buffer,
        "follow": chosen.follow,
        "command": chosen.command,
        "max_ns": chosen.max_time,
        "for_ns": chosen.duration,
        "entries": source.entries or None,
        "aggregates": [each.map for each in source.aggregates],
    }


def _program(program: Program) -> dict[str, Any]:
    return {
        "program": program.program,
        "symbol": program.symbol or None,
        "address": program.address or None,
        "offset": program.offset,
        "return": program.is_return,
        "cookie": program.cookie,
        "exact": program.exact,
        "optional": program.optional,
        "multi": program.multi,
    }


def _refused(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the functions of a wildcard that the kernel itself would not have probed."""
    found = answer.get("left_out", [])
    return [{"name": each["symbol"], "why": f"refused by the kernel ({each['message']})"}
            for each in found]  # fmt: skip


def _left_out(plan: Plan, artifact: Artifact) -> list[dict[str, str]]:
    return [{"name": each.name, "why": each.why}
            for each in (*plan.left_out, *artifact.source.left_out)]  # fmt: skip


def _info(connection: Connection, plan: Plan, artifact: Artifact) -> dict[str, Any]:
    first: Site = plan.sites[0]
    shown: Mapping[str, Any] = vars(plan.probe.options)
    return {
        "kernel_release": plan.release,
        "symbol": first.symbol,
        "address": first.address,
        "offset": first.offset,
        "sites": [site_name(site) for site in plan.sites],
        "backend": plan.probe.options.backend,
        "target": connection.name,
        "options": dict(shown),
        "compiler": artifact.compiler,
        "build_seconds": artifact.seconds,
        "left_out": _left_out(plan, artifact),
        "note": "; ".join(site.note for site in plan.sites if site.note),
    }
