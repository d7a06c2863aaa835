# SPDX-License-Identifier: MIT
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from compiled import TinyKernel


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyKernel]:
    """A kernel of forty lines."""
    kernel = TinyKernel(tmp_path_factory.mktemp("tiny"))
    yield kernel
    kernel.compiler.close()
