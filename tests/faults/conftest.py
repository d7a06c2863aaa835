# SPDX-License-Identifier: MIT
"""Random moments, and at the end a line for each fault: how often, and how soon it was told."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable

import pytest

ROUNDS = int(os.environ.get("KPMAGIC_ROUNDS", "2"))
SEED = int(os.environ.get("KPMAGIC_SEED", "0")) or random.randrange(1 << 32)


@pytest.fixture(params=range(ROUNDS))
def choice(request: pytest.FixtureRequest) -> random.Random:
    """Random moments; the seed is in the name of a test that fails."""
    print(f"KPMAGIC_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have measured, by fault."""
    measured: dict[tuple[str, str], list[float]] = {}
    for report in terminalreporter.stats.get("passed", ()):
        name = report.nodeid.rpartition("::")[2].partition("[")
        fault = "-".join(part for part in name[2].rstrip("]").split("-") if "_" in part)
        for what, value in report.user_properties:
            measured.setdefault((f"{name[0]} {fault}".strip(), what), []).append(value)
    for (fault, what), values in sorted(measured.items()):
        middle, most = statistics.median(values), max(values)
        terminalreporter.write_line(
            f"{fault}: {what}: {middle:.2f}, at most {most:.2f} ({len(values)} rounds)"
        )


@pytest.fixture
def in_time() -> Callable[[float, float], None]:
    """Hold a time against its limit in s; a machine with too much to do is given more."""

    def hold(seconds: float, limit: float) -> None:
        crowd = os.getloadavg()[0] / (os.cpu_count() or 1)
        assert seconds <= limit * max(1.0, crowd)

    return hold
