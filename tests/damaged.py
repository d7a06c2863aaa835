# SPDX-License-Identifier: MIT
"""A recording with a wrong byte: refused, or as good as whole to whoever looks at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import kpmagic
from kpmagic.errors import RecordingError


def refusals(whole: bytes, path: Path, look: Callable[[Any], object], step: int = 11) -> int:
    """Set one byte in ``step`` to 0, and to its opposite; return how often that was refused."""
    refused = 0
    for place in range(0, len(whole), step):
        for byte in (0, ~whole[place] & 0xFF):
            path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            try:
                look(kpmagic.load(path))
            except RecordingError:
                refused += 1
    return refused
