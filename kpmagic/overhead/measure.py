# SPDX-License-Identifier: MIT
"""Rounds of the workload under each way and under none, in a new order each time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..channel.connection import Connection
from ..errors import CellError, KpmagicError, SymbolError
from ..planted.cost import LeftAside, Sample
from ..session import session
from ..view.mechanisms import Mechanisms
from .ways import Way, probed, ways
from .workload import Workload

CALLS, ROUNDS = 20_000, 5
FEWEST_CALLS = 500
MOST_CALLS, MOST_ROUNDS = 10_000_000, 1000


def mechanisms(
    symbol: str,
    *,
    calls: int = CALLS,
    rounds: int = ROUNDS,
    command: str = "",
    target: Connection | str | None = None,
) -> Mechanisms:
    """Measure what a hit costs at ``symbol``, planted by each way into the kernel.

    In each round the workload runs once under each way, and before each without a probe:
    ``calls`` calls of a system call that calls the function, of which the median is taken, or the
    shell ``command`` (--while). An interrupt ends it with the rounds that are complete.
    Raises KpmagicError.
    """
    _check(calls, rounds)
    connection = session.connection(target)
    connection.check_kernel()
    plain = probed(connection, symbol, "bpf kprobe", "empty", {})
    if plain.run.plan.sites[0].offset or len(plain.run.plan.sites) != 1:
        raise SymbolError(f"{symbol!r} is not the entry of one function")
    found = plain.run.plan.sites[0].symbol
    with Workload(connection, calls, command) as workload:
        workload.choose(lambda run: _hits(plain, run), found)
        return _measured(connection, found, workload, rounds)


def _check(calls: int, rounds: int) -> None:
    for name, number, least, most in (("calls", calls, FEWEST_CALLS, MOST_CALLS),
                                     ("rounds", rounds, 1, MOST_ROUNDS)):  # fmt: skip
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise CellError(f"--{name} {number}: a whole number from {least} to {most:,} is needed")


def _hits(way: Way, run: Callable[[], object]) -> int:
    """Return how often the probe was hit while ``run`` did something."""
    way.start()
    try:
        run()
    finally:
        way.stop()
    return way.hits


@dataclass
class Measured:
    """What has come of a way so far; ``failure`` is why it is measured no more."""

    way: Way
    ns: list[float] = field(default_factory=list)
    hits: int = 0
    dropped: int = 0
    failure: KpmagicError | None = None


def _measured(
    connection: Connection, symbol: str, workload: Workload, rounds: int
) -> Mechanisms:
    built: list[Measured] = []
    aside: list[LeftAside] = []
    for name, handler, way in ways(connection, symbol):
        if isinstance(way, KpmagicError):
            aside.append(LeftAside(name, handler, str(way).splitlines()[0]))
        else:
            built.append(Measured(way))
    bare: list[float] = []
    broken_off = False
    try:
        for number in range(rounds):
            _round(workload, built, bare, f"round {number + 1} of {rounds}")
    except KeyboardInterrupt:
        if not bare or not any(each.ns for each in built):
            raise
        broken_off = True
    aside += [LeftAside(each.way.name, each.way.handler, str(each.failure).splitlines()[0])
              for each in built if each.failure is not None]  # fmt: skip
    return Mechanisms(
        symbol, connection.name, connection.release, connection.cpus, workload.says,
        1 if workload.command else workload.calls, tuple(bare),
        tuple(_samples(built)), tuple(aside), broken_off,
    )  # fmt: skip


def _round(workload: Workload, built: Sequence[Measured], bare: list[float], what: str) -> None:
    """Run the workload under each way, and before each without; keep whole rounds only."""
    turns = [each for each in built if each.failure is None]
    random.shuffle(turns)
    took: list[tuple[Measured, float, int, int]] = []
    without: list[float] = []
    for turn in turns:
        session.progress(f"{what}: {turn.way.name}, {turn.way.handler}")
        try:
            without.append(workload.run())
            more = _timed(turn.way, workload) - without[-1]
        except KpmagicError as error:
            if not workload.connection.alive:
                raise
            turn.failure = error
            continue
        took.append((turn, more, turn.way.hits, turn.way.dropped))
    bare += without
    for each, more, hits, dropped in took:
        hits_of_one = hits if workload.command else hits / workload.calls
        if hits:
            each.ns.append(more / hits_of_one)
        each.hits += hits
        each.dropped += max(dropped, 0)


def _timed(way: Way, workload: Workload) -> float:
    way.start()
    try:
        return workload.run()
    finally:
        way.stop()


def _samples(built: Sequence[Measured]) -> Iterator[Sample]:
    for each in built:
        way = each.way
        if each.ns:
            yield Sample(way.name, way.handler, way.place, way.mechanism, tuple(each.ns),
                         each.hits, each.dropped if way.dropped >= 0 else -1)  # fmt: skip
