# SPDX-License-Identifier: MIT
"""Which of its programs a process was at a time, whole columns at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .columns import Array

NOTHING: Mapping[int, Sequence[int]] = {}


class Programs:
    """When the programs of processes began: ``began`` has those processes that were several.

    It is process id → CLOCK_MONOTONIC in ns, in order; a program's number counts from 1 on, and
    stays when later ones come.
    """

    def __init__(self, began: Mapping[int, Sequence[int]] = NOTHING) -> None:
        pids = sorted(began)
        self._counts = {pid: len(began[pid]) for pid in pids}
        lengths = np.array([len(began[pid]) for pid in pids], np.int64)
        moments = np.array([when for pid in pids for when in began[pid]], np.int64)
        self._pids = np.array(pids, np.uint64)
        self._before = np.cumsum(lengths) - lengths
        self._moments = np.unique(moments)
        # process and moment as one number, so that one search finds both
        self._width = len(self._moments) + 1
        processes = np.repeat(np.arange(len(pids)), lengths)
        self._places = processes * self._width + self._rank(moments)

    def count(self, pid: int) -> int:
        """Return how many programs a process has been, 0 where that is not more than one."""
        return self._counts.get(pid, 0)

    def numbers(self, pids: Array, times: Array) -> Array:
        """Return the number of each row's program, 0 where its process was only one."""
        found = np.zeros(len(pids), np.uint64)
        if not len(self._pids):
            return found
        process = np.searchsorted(self._pids, pids)
        process[process == len(self._pids)] = 0
        rows = np.flatnonzero(self._pids[process] == pids)
        process = process[rows]
        places = process * self._width + self._rank(times[rows])
        number = np.searchsorted(self._places, places, "right") - self._before[process]
        found[rows] = np.maximum(number, 1)  # nobody has seen what was before the first
        return found

    def _rank(self, times: Array) -> Array:
        """Return how many moments of any process each time is not before."""
        return np.searchsorted(self._moments, times, "right")
