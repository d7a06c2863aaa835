# SPDX-License-Identifier: MIT
"""A table of figures with their spread."""

from __future__ import annotations

import os
from collections import defaultdict
from statistics import median


class Figures:
    """Numbers collected under a name, printed as a Markdown table."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float) -> None:
        """Take one measurement."""
        self._found[name].append(value)

    def table(self) -> str:
        """Return all figures: median, spread, n."""
        load = os.getloadavg()[0]
        head = "| figure | median | min–max | n |"
        lines = [f"{os.cpu_count()} cores, load {load:.1f}", "", head, "|---|---|---|---|"]
        for name, values in self._found.items():
            spread = f"{min(values):,.3f}–{max(values):,.3f}"
            lines.append(f"| {name} | {median(values):,.3f} | {spread} | {len(values)} |")
        return "\n".join(lines)
