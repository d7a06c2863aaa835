# SPDX-License-Identifier: MIT
"""What a notebook or shell has open: its default target and the runs by name."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import answers
from .cell.syntax import suggestion
from .channel.connection import Connection
from .connecting import REPLAY, SANDBOX, check_name, connect, to_stderr
from .errors import CellError, TargetError
from .modules.run import ModuleRun
from .peers.run import PeerRun
from .run import Link, Run
from .targets.base import Progress

if TYPE_CHECKING:
    pass

ENVIRONMENT = "KPMAGIC_TARGET"


def default_name() -> str:
    """Return the target that is used when none is named; KPMAGIC_TARGET may be a replay.

    What really probes a kernel is chosen in the notebook, where its reader sees it.
    """
    name = os.environ.get(ENVIRONMENT, "")
    return name if name.partition(":")[0] == REPLAY else SANDBOX


def recorder(connection: Connection) -> Path | None:
    """Return where cells on this target are recorded (KPMAGIC_RECORD), None where they are not."""
    return None if "no_kernel" in connection.hello else answers.folder()


AnyRun = Run | ModuleRun | PeerRun


class Session:
    """The default target, started when it is first needed, and the runs of every target.

    A target that a single cell names is kept, too, and used by the next cell that names it.
    """

    def __init__(self) -> None:
        self.progress: Progress = to_stderr
        self._default: Connection | None = None
        self._name = default_name()
        self._options: dict[str, Any] = {}
        self._mine = False  # whether the default was started here, and not given
        self._named: dict[str, Connection] = {}
        self._failed: dict[str, AnyRun] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # of the runs: panels look at them from threads of theirs
        self._added: weakref.WeakKeyDictionary[AnyRun, int] = weakref.WeakKeyDictionary()
        self._runs: weakref.WeakKeyDictionary[Link, dict[str, AnyRun]] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def name(self) -> str:
        """The default target's name, be it started or not."""
        return self._name

    @property
    def default(self) -> Connection | None:
        """The default target's connection, if it has been started and is alive."""
        alive = self._default is not None and self._default.alive
        return self._default if alive else None

    @property
    def connections(self) -> list[Connection]:
        """The targets that are alive: the default one, and those that cells have named."""
        found = [*([self._default] if self._default else []), *self._named.values()]
        return [each for each in found if each.alive]

    def use(self, target: Connection | str, **options: Any) -> Connection:
        """Make ``target`` the default: a connection, or a name as for `connect`."""
        if isinstance(target, Connection):
            old, mine = self._default, self._mine
            # its name means this target from now on, and when it has died one of its kind
            self._default, self._name, self._options = target, target.name, {}
            self._mine = mine and old is target
            if mine and old is not None and old is not target:
                self._end(old)  # nobody else could
            return target
        connection = connect(target, progress=self.progress, **options)
        old, self._default = self._default, connection  # whatever the old one's end raises
        self._name, self._options, self._mine = target, options, True
        if old is not None:
            self._end(old)
        return connection

    def connection(self, target: Connection | str | None = None) -> Connection:
        """Return a live connection: the one given, or the default one, started if need be."""
        if isinstance(target, Connection):
            if not target.alive:
                raise target.lost()
            return target
        if target is not None and target != self._name:
            return self._by_name(target)
        # one that has died is replaced by a fresh one of the same kind
        return self.default or self.use(self._name, **self._options)

    def fresh(self) -> Connection:
        """End the default target and start another of the same kind. Raises TargetError."""
        return self.use(self._name, **self._options)

    def _by_name(self, name: str) -> Connection:
        check_name(name)
        kept = self._named.get(name)
        if kept is not None and kept.alive:
            return kept
        self._named[name] = connection = connect(name, progress=self.progress)
        if kept is not None:
            kept.close()  # what is left of one that has died
        return connection

    def runs(self) -> list[AnyRun]:
        """Return the runs by name, of all targets, oldest first."""
        with self._lock:
            found = [run for runs in self._runs.values() for run in runs.values()]
            return sorted(found, key=lambda run: self._added[run])

    def failed(self, run: AnyRun) -> None:
        """Keep a run that did not start, so that ``%kp show`` can say why."""
        self._failed[run.name] = run

    def newest(self, name: str) -> AnyRun:
        """Return the newest run called ``name``, be it one that did not start. Raises CellError."""
        return self._failed.get(name) or self.find(name)

    def find(self, name: str) -> AnyRun:
        """Return the newest run called ``name`` that has started, else one that did not.

        Raises CellError.
        """
        for run in reversed(self.runs()):
            if run.name == name:
                return run
        if name in self._failed:
            return self._failed[name]
        names = [run.name for run in self.runs()]
        known = f"there are {', '.join(names)}" if names else "there is none yet"
        raise CellError(f"no probe {name!r}", hint=suggestion(name, names) or known)

    def add(self, run: AnyRun) -> AnyRun | None:
        """Keep ``run`` by its name; return the one it replaces."""
        with self._lock:
            runs = self._runs.setdefault(run.connection, {})
            self._failed.pop(run.name, None)
            old = runs.pop(run.name, None)
            runs[run.name] = run
            self._added[run] = next(self._numbers)
            return old

    def _end(self, connection: Connection) -> None:
        """Stop the runs of a target, and end it."""
        with self._lock:
            runs = list(self._runs.get(connection, {}).values())
        _stop(runs)
        connection.close()

    def close(self) -> None:
        """Stop every run and end the targets, also those behind one that does not answer."""
        _stop(self.runs())
        with self._lock:
            self._runs.clear()
            self._failed.clear()
        with contextlib.ExitStack() as ends:
            for connection in (self._default, *self._named.values()):
                if connection is not None:
                    ends.callback(connection.close)
            self._named.clear()
            self._default = None

    def remove(self, run: AnyRun) -> None:
        """Stop ``run`` and forget it."""
        run.stop()
        with self._lock:
            self._failed.pop(run.name, None)
            runs = self._runs.get(run.connection, {})
            if runs.get(run.name) is run:
                del runs[run.name]


def _stop(runs: Iterable[AnyRun]) -> None:
    for run in runs:
        with contextlib.suppress(TargetError):  # it ends with its target
            run.stop()


session = Session()


def use(target: Connection | str, **options: Any) -> Connection:
    """Make ``target`` (a connection, or a name as for `connect`) the one cells run on."""
    return session.use(target, **options)
