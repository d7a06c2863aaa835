# SPDX-License-Identifier: MIT
"""Plants programs at their places: together where that is asked for, else one by one."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kpmagic.agent.arguments import Program
from kpmagic.agent.libbpf import ATTACH_ERRORS
from kpmagic.agent.missed import address_of
from kpmagic.agent.objects import Link, Object
from kpmagic.agent.refusal import Refused

StillHere = Callable[[], None]
"""Called between two of many things that take long together, for a sign of life."""
SPARE = 256  # descriptors for everything else


def batches(programs: Iterable[Program]) -> Iterator[list[Program]]:
    """Yield places that are planted at once, in order."""
    for _, group in itertools.groupby(programs, lambda place: (place.program, place.multi)):
        places = list(group)
        if places[0].multi:
            yield places
        else:
            yield from ([place] for place in places)


def make_room(places: int) -> None:
    """Let this process have two descriptors for each place more than it has now.

    A run has a dozen besides: a hundred of them are more than the 1,024 that are usual.
    """
    needed = len(os.listdir("/proc/self/fd")) + SPARE + 2 * places
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        with contextlib.suppress(ValueError, OSError):  # planting will say that it is too many
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))


class Planting:
    """Plants, and keeps what came of it: ``links`` belong to whoever gave the list."""

    def __init__(self, loaded: Object, links: list[Link], still_here: StillHere) -> None:
        self._object = loaded
        self._links = links
        self._still_here = still_here
        self.attached: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []
        self._first: Refused | None = None

    def plant(self, places: list[Program]) -> None:
        """Plant one program at its places. Raises Refused for one that is not optional."""
        try:
            link = self._plant(places)
        except Refused as error:
            self._refused(places, error)
            return
        self._still_here()
        self._links.append(link)
        told = address_of(link) if len(places) == 1 else None
        for place in places:
            address = told or place.address
            self.attached.append({"program": place.program, "address": address})

    def _plant(self, places: list[Program]) -> Link:
        if places[0].multi:
            return self._object.attach_multi(places)
        if places[0].fentry:
            return self._object.attach_trace(places[0])
        return self._object.attach(places[0])

    def _refused(self, places: list[Program], error: Refused) -> None:
        """Find out which of many was refused; leave it out if it is optional."""
        of_the_place = error.kind == "attach" and error.error["errno"] in ATTACH_ERRORS
        if of_the_place and len(places) > 1:
            half = len(places) // 2
            self.plant(places[:half])
            self.plant(places[half:])
            return
        if not (of_the_place and places[0].optional):
            raise error
        self._first = self._first or error
        self.left_out.append({"symbol": places[0].symbol, "message": str(error)})

    def check(self) -> None:
        """Refuse when nothing at all could be planted. Raises Refused."""
        if self._first is not None and not self.attached:
            raise self._first
