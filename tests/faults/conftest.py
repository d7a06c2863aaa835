# SPDX-License-Identifier: MIT
"""Random moments, and limits that a crowded machine is given more of."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

ROUNDS = int(os.environ.get("KPMAGIC_ROUNDS", "1"))
SEED = int(os.environ.get("KPMAGIC_SEED", "0")) or random.randrange(1 << 32)


@pytest.fixture(params=range(ROUNDS))
def choice(request: pytest.FixtureRequest) -> random.Random:
    """Random moments; the seed is in the name of a test that fails."""
    print(f"KPMAGIC_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def in_time() -> Callable[[float, float], None]:
    """Hold a time against its limit in s; a machine with too much to do is given more."""

    def hold(seconds: float, limit: float) -> None:
        crowd = os.getloadavg()[0] / (os.cpu_count() or 1)
        assert seconds <= limit * max(1.0, crowd)

    return hold
