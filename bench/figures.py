# SPDX-License-Identifier: MIT
"""Figures with their spread, ratios of them with what each must be, and the page they end up on."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Ratio:
    """A claim: ``value`` is at most (or at least) ``bound``; ``why`` says of what to what."""

    name: str
    value: float
    bound: float
    at_most: bool
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is so."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def row(self) -> str:
        """A row of the table."""
        must = f"{'≤' if self.at_most else '≥'} {self.bound:.4g}"
        verdict = "yes" if self.holds else "**no**"
        return f"| {self.name} | {self.value:.3g} | {must} | {verdict} | {self.why} |"


class Figures:
    """Numbers collected under a name, and what is claimed of them."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = defaultdict(list)
        self._ratios: dict[str, Ratio] = {}
        self.notes: list[str] = []

    def add(self, name: str, value: float) -> None:
        """Take one measurement."""
        self._found[name].append(value)

    def of(self, name: str) -> float:
        """Return the median of what was measured under a name; NaN when nothing was."""
        return median(self._found[name]) if self._found.get(name) else float("nan")

    def least(self, name: str) -> float:
        """Return the smallest: what a thing takes when nothing else has the processor."""
        return min(self._found[name]) if self._found.get(name) else float("nan")

    def ratio(self, name: str, value: float, bound: float, at_most: bool, why: str = "") -> None:
        """Claim something, or claim it anew. What could not be measured is no claim."""
        if value == value:
            self._ratios[name] = Ratio(name, value, bound, at_most, why)

    @property
    def ratios(self) -> list[Ratio]:
        """What is claimed."""
        return [*self._ratios.values()]

    @property
    def short(self) -> list[str]:
        """The names of the ratios that fall short."""
        return [ratio.name for ratio in self.ratios if not ratio.holds]

    def note(self, text: str) -> None:
        """Say what no number says."""
        self.notes.append(text)

    def table(self) -> str:
        """Return all of it as Markdown: ratios, then each figure's median, spread and n."""
        lines = [f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", ""]
        if self.ratios:
            lines += ["| ratio | is | must | holds | of what |", "|---|---|---|---|---|"]
            lines += [ratio.row for ratio in self.ratios] + [""]
        lines += ["| figure | median | min–max | n |", "|---|---|---|---|"]
        for name, values in self._found.items():
            spread = f"{min(values):,.3f}–{max(values):,.3f}"
            lines.append(f"| {name} | {median(values):,.3f} | {spread} | {len(values)} |")
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def write(self, folder: Path) -> None:
        """Write table.md, figures.json and ratios.html, a plot of the ratios."""
        import plotly.graph_objects as go

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(f"{self.table()}\n")
        ratios = [vars(ratio) | {"holds": ratio.holds} for ratio in self.ratios]
        whole = {"cores": os.cpu_count(), "figures": self._found, "ratios": ratios}
        (folder / "figures.json").write_text(json.dumps(whole, indent=1))
        shown = self.ratios[::-1]
        of_bound = [r.value / r.bound if r.at_most else r.bound / (r.value or 1e-9) for r in shown]
        colours = ["#2e7d32" if ratio.holds else "#c62828" for ratio in shown]
        figure = go.Figure(go.Bar(x=of_bound, y=[r.name for r in shown], orientation="h",
                                  marker_color=colours))  # fmt: skip
        figure.add_vline(x=1, line_dash="dot")
        figure.update_layout(title="Ratios against what they must be (left of 1: it holds)",
                             xaxis={"type": "log", "title": "of the bound"},
                             height=200 + 26 * len(shown), margin={"l": 380})  # fmt: skip
        figure.write_html(folder / "ratios.html", include_plotlyjs="cdn")
