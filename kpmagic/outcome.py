# SPDX-License-Identifier: MIT
"""What is known of one life of a probe besides its rows, as a value that can be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CUT_OFF = "cut-off"  # what ended a recording whose notebook died before its run ended


@dataclass
class Workload:
    """The command of ``--while``.

    Its exit code is None while it runs, and 128 + N when signal N ended it, as in a shell.
    """

    command: str
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True)
class MapPart:
    """Where one map's bytes lie among those of all maps; see AGGREGATES in agent/wire.py."""

    map: str
    key_size: int
    entries: int


@dataclass(frozen=True)
class Outcome:
    """How a run went: what ended it, what the kernel counted, what was said.

    ``losses`` are (rows before, rows after, rows dropped meanwhile); ``last_words`` say how its
    target was lost; ``maps`` tell the aggregates' bytes apart.
    """

    reason: str = ""
    error: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    losses: tuple[tuple[int, int, int], ...] = ()
    missed: int | None = None
    in_flight: int | None = None
    remarks: tuple[str, ...] = ()
    workload: Workload | None = None
    last_words: str = ""
    maps: tuple[MapPart, ...] = ()
