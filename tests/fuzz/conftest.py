# SPDX-License-Identifier: MIT
"""What the fuzzing tests share."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from amount import FULL, SEED
from compiled import TinyKernel


def pytest_report_header() -> str:
    return f"fuzz: {'in full' if FULL else 'a little'}, KPMAGIC_SEED={SEED}"


@pytest.fixture
def chance() -> random.Random:
    """What is drawn; the seed is printed with a failure."""
    print(f"KPMAGIC_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyKernel]:
    """A kernel of forty lines."""
    kernel = TinyKernel(tmp_path_factory.mktemp("tiny"))
    yield kernel
    kernel.compiler.close()
