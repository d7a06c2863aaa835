# SPDX-License-Identifier: MIT
"""The live object: a probe that runs or has run on a target."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from . import saving, tracers
from .cell import values
from .channel.exchange import Listener
from .channel.refusals import MissingRefusal, ToolRefusal, VerifierRefusal
from .control import START_PATIENCE, Asked, Controlled
from .errors import TargetError
from .life import Life
from .model import Artifact, Options, Plan, Program
from .result import Result, left_out
from .rows.batches import Batches
from .rows.recording import Recording, Rows
from .rows.stack_names import LookUp, StackNames, no_name
from .saved.past import Past
from .saved.spool import Spool
from .shown import View
from .userland.memory import Memory

CERTAIN = (1 << 32) - 1  # bpf/inject.kmod.h: chance
BCC_PATIENCE = 120.0  # s: half a minute under emulation, on a quiet machine
PROBE_PATIENCE = 0.5  # s for each that is planted, on a busy machine


class Link(Asked, Protocol):
    """What a run needs of a connection.Connection; loading.Ended is what is left of one."""

    @property
    def name(self) -> str:
        """The target's name."""

    @property
    def alive(self) -> bool:
        """Whether it still answers, as far as is known without asking."""

    @property
    def remark(self) -> str:
        """What there is to say about it now, or ``""``."""

    @property
    def cwd(self) -> str | None:
        """The directory there in which commands run."""

    @property
    def cwd_note(self) -> str:
        """Why that is not the notebook's own folder, or ``""``."""

    def new_number(self) -> int:
        """Return a number no run of it has had. Raises TargetError."""

    def listen(self, number: int, listener: Listener) -> None:
        """Have the frames of run ``number`` go to ``listener``."""

    def tell(self, word: str, *, run: int = 0, **arguments: Any) -> None:
        """Ask the agent for what needs no answer. Raises TargetLost."""


class Run(Result, Controlled):
    """A probe's run, live, finished or loaded; what every probe magic and ``kpmagic.probe`` return.

    As a context manager it stops at the end of the block. ``life`` is that of a loaded one.
    ``look_up`` names the functions of stacks, with what ``memory`` is told.
    """

    connection: Link
    _life: Life

    def __init__(
        self,
        connection: Link,
        plan: Plan,
        artifact: Artifact,
        view: View | None = None,
        life: Life | None = None,
        look_up: LookUp = no_name,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(plan, artifact, connection.name, view)
        self._look_up = look_up
        self._memory = memory
        if memory is not None:
            self._programs = memory.programs
        self.connection = connection
        self._life = self._new_life() if life is None else life

    @property
    def remarks(self) -> list[str]:
        """What the agent had to say about this run, and while it runs, what is to say of it."""
        said = super().remarks
        now = "" if self._life.ended.is_set() else self.connection.remark
        return [*said, now] if now else said

    @property
    def losses_of_names(self) -> list[str]:
        """What there is to say of user stacks without names."""
        lost = 0 if self._memory is None else self._memory.lost
        if not lost:
            return []
        return [f"{lost:,} mappings of code came too fast: some user stacks have no names"]

    def _maps(self) -> tuple[list[dict[str, Any]], bytes]:
        life = self._life
        if life.reason or life.ended.is_set():  # it may not have been started at all
            return life.maps
        try:
            answer, blob = self.connection.request("aggregates", run=life.number)
        except TargetError:
            if not life.ended.wait(1.0):
                raise
            return life.maps
        life.looked(answer["maps"], blob)
        return answer["maps"], blob

    def places(self) -> list[dict[str, Any]]:
        """Return where its probes are now; agent/wire.py: "planted". Raises TargetError."""
        answer, _ = self.connection.request("planted", run=self._life.number)
        return list(answer["places"])

    # -- keeping ----------------------------------------------------------------------------

    def past(self) -> Past:
        """Return all of it but its rows, as a value. Raises CellError while it runs."""
        return saving.past_of(self)

    def save(self, path: str | Path) -> Path:
        """Write it to ``path``, a Parquet file that `kpmagic.load` reads; return the path.

        Another recording there is replaced. Raises CellError while it runs, and RecordingError.
        """
        return saving.save(self, path)

    # -- control ----------------------------------------------------------------------------

    def start(self) -> Run:
        """Attach the probe. One that has ended starts again, and its old rows are dropped.

        Raises VerifierError, AttachError, NotPermitted, TargetError, RecordingError.
        """
        if self._life.number and not self._life.ended.is_set():
            return self
        life = self._new_life(self.connection.new_number())
        self._life, self.failure, self._aggregates = life, None, None
        before = time.monotonic()
        life.info = self.info
        try:
            self.connection.listen(life.number, life)
            answer, _ = self._request_start(life)
        except BaseException as error:
            self._abandon(life, error)
            raise
        self.info |= {
            "load_seconds": answer.get("load_ns", 0) / 1e9,
            "attach_seconds": answer.get("attach_ns", 0) / 1e9,
            "start_seconds": time.monotonic() - before,
            "attached": answer.get("attached", []),
            "mechanism": answer.get("mechanism"),
            "attached_by": answer.get("ways", []),
            "canary": answer.get("canary"),
            "left_out": left_out(self.plan, self.artifact) + _refused(answer),
            "addresses": dict(answer.get("addresses", {})),  # those a recording knows
            "started": time.time(),
        }
        if self.connection.cwd_note:
            self.info["cwd_note"] = self.connection.cwd_note
        try:
            saving.started(self)
        except BaseException as error:
            self._stop_soon("save-failed")
            self._abandon(life, error)
            raise
        if isinstance(self.recording, Spool):
            # registered after the connection's, hence called before it
            atexit.register(_stop_at_exit, weakref.ref(self), os.getpid())
        return self

    def _request_start(self, life: Life) -> tuple[dict[str, Any], bytes]:
        arguments = start_arguments(self.plan, self.artifact)
        patience = START_PATIENCE + PROBE_PATIENCE * len(arguments["programs"])
        patience += BCC_PATIENCE * bool(arguments["bcc"])
        try:
            return self.connection.request(
                "start", self.artifact.object, run=life.number, timeout=patience,
                cwd=self.connection.cwd, **arguments,
            )  # fmt: skip
        except MissingRefusal as refusal:
            raise tracers.missing(refusal.message, self.connection.name) from None
        except ToolRefusal as refusal:
            where, probe = self.connection.name, self.plan.probe
            raise tracers.of_bcc(refusal, lambda line, _: probe.place(line), where) from None
        except VerifierRefusal as refusal:
            from .verifier import explain

            self.verifier_log = refusal.log
            program = refusal.program or self.artifact.source.programs[0].program
            raise explain(
                refusal.log, program, self.artifact, self.plan.probe, self.name
            ) from None

    def _abandoned(self) -> None:
        saving.abandoned(self)

    def _new_life(self, number: int = 0) -> Life:
        self._named: dict[str, str] = {}  # addresses in rows, which keep their names themselves
        rows = saving.spooled(self, self._rows) if number else None
        on_maps = None if self._memory is None else self._memory.feed
        life = Life(number, rows or self._rows(), self.options.command, self._stop_soon, on_maps)
        if rows is not None:
            life.ending = lambda: saving.finish(self, rows, life)
        if not number:
            life.ended.set()
        return life

    def _rows(self) -> Rows:
        """Return where rows go when they stay in memory."""
        source, hello = self.artifact.source, self.connection.hello
        offset = int(hello.get("realtime_minus_monotonic", 0))
        names = StackNames(self._look_up, self._named, self._programs)
        rows = Recording(
            source.layouts, self.plan.sites, source.record_size, offset, names, self.plan.several
        )
        return Batches.like(rows) if hello.get("rows") == "arrow" else rows

    def _stop_soon(self, reason: str) -> None:
        """Ask for the end without waiting for an answer, as the reader's thread must."""
        with contextlib.suppress(TargetError):
            self.connection.tell("stop", run=self._life.number, reason=reason)


def _stop_at_exit(run: weakref.ref[Run], owner: int) -> None:
    """End a run that goes to a file, so that the file is whole; not in a forked child."""
    left = run()
    if left is not None and os.getpid() == owner:
        with contextlib.suppress(TargetError):
            left.stop()


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
        "buffer": values.ring_size(chosen.buffer),
        "follow": chosen.follow,
        "command": chosen.command,
        "max_ns": chosen.max_time or None,
        "for_ns": chosen.duration,
        "max_ppm": round(chosen.max_overhead * 1e6),
        "entries": source.entries or None,
        "aggregates": [each.map for each in source.aggregates],
        "mappings": "ustack" in source.kinds,
        "module": source.module or None,
        "injection": injection(chosen) if chosen.inject else None,
        "bcc": chosen.backend == "bcc",
        "key_sizes": [each.key_size for each in source.aggregates],
        "mechanism": chosen.mechanism or None,
    }


def injection(chosen: Options) -> dict[str, int]:
    """Return a module's parameters for --times and --probability."""
    return {"times": chosen.times, "chance": round(chosen.probability * CERTAIN)}


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
        "fentry": program.fentry,
    }


def _refused(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the functions of a wildcard that the kernel itself would not have probed."""
    found = answer.get("left_out", [])
    return [{"name": each["symbol"], "why": f"refused by the kernel ({each['message']})"}
            for each in found]  # fmt: skip
