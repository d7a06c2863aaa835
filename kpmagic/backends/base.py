# SPDX-License-Identifier: MIT
"""The border to a way into the kernel."""

from __future__ import annotations

from typing import Protocol

from kpmagic.cell.handler import Analysis
from kpmagic.model import Source


class Backend(Protocol):
    """Turns an analysed probe into source for one way into the kernel."""

    name: str

    def render(self, analysis: Analysis) -> Source:
        """Return the generated source and what its records look like."""
