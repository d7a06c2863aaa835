# SPDX-License-Identifier: MIT
"""What was asked → a run that goes on, be it of a probe, a module or another tracer's script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from . import answers, cache
from .answers import Answer, failure_of, of_module, of_probe, of_script
from .cell.script import Script
from .channel.connection import Connection
from .errors import KpmagicError
from .model import Module, Probe
from .modules.run import ModuleRun
from .modules.saving import record as record_module
from .peers.run import PeerRun
from .peers.saving import record as record_script
from .preparing import prepare, prepare_module, prepare_script
from .run import Run
from .saving import record_dry_run
from .session import recorder, session

Cell = TypeVar("Cell", Probe, Module, Script)
AnyRun = TypeVar("AnyRun", Run, ModuleRun, PeerRun)


@dataclass(frozen=True)
class Way(Generic[Cell, AnyRun]):
    """How one kind of cell becomes a run; an answer of a recording is found by ``described``."""

    described: Callable[[Cell], Any]
    prepare: Callable[[Cell, Connection], AnyRun]
    record_dry_run: Callable[[AnyRun, Path], None]
    start: Callable[[AnyRun, Connection], None]


def _begin(
    way: Way[Cell, AnyRun],
    asked: Cell,
    connection: Connection,
    bind: Callable[[AnyRun], None] | None,
) -> AnyRun:
    """Build and start; ``bind`` is given the run before it starts. What fails is recorded too."""
    where = recorder(connection)
    try:
        run = way.prepare(asked, connection)
        if bind is not None:
            bind(run)
        if not asked.options.dry_run:
            way.start(run, connection)
        elif where is not None:
            way.record_dry_run(run, where)
    except KpmagicError as error:
        if where is not None:
            answers.add(where, Answer(way.described(asked), failure=failure_of(error)))
        raise
    return run


def start(
    asked: Probe, connection: Connection, bind: Callable[[Run], None] | None = None
) -> Run:
    """Build and attach a probe; ``bind`` is given the Run before it starts.

    One of the same name is replaced: the new one runs before the old one is stopped.
    """
    return _replacing(_begin(PROBE, asked, connection, bind))


def start_script(
    asked: Script, connection: Connection, bind: Callable[[PeerRun], None] | None = None
) -> PeerRun:
    """Hand a script to another tracer; ``bind`` is given the run before it starts.

    One of the same name is replaced: the new one runs before the old one is stopped.
    """
    return _replacing(_begin(SCRIPT, asked, connection, bind))


def start_module(
    asked: Module, connection: Connection, bind: Callable[[ModuleRun], None] | None = None
) -> ModuleRun:
    """Build and load a module; ``bind`` is given the run before it starts.

    One of the same name that this session has loaded is removed first.
    """
    return _begin(MODULE, asked, connection, bind)


def _replacing(run: AnyRun) -> AnyRun:
    if not run.options.dry_run:
        replaced = session.add(run)
        if replaced is not None:
            replaced.stop("replaced")
    return run


def _prepare(asked: Probe, connection: Connection) -> Run:
    with cache.room():
        return prepare(asked, connection)


def _start(run: Run | PeerRun, connection: Connection) -> None:
    try:
        run.start()
    except KpmagicError:
        session.failed(run)
        raise


def _start_script(run: PeerRun, connection: Connection) -> None:
    session.progress(f"{run.script.tool} compiles and attaches")
    _start(run, connection)


def _load(run: ModuleRun, connection: Connection) -> None:
    replaced = session.add(run)
    if replaced is not None:
        replaced.stop("replaced")
    run.start()


PROBE: Way[Probe, Run] = Way(of_probe, _prepare, record_dry_run, _start)
MODULE: Way[Module, ModuleRun] = Way(of_module, prepare_module, record_module, _load)
SCRIPT: Way[Script, PeerRun] = Way(of_script, prepare_script, record_script, _start_script)
