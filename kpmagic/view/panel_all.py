# SPDX-License-Identifier: MIT
"""``%kp panel``: every probe, the target, and a box to search functions and probe them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .clean import clean, escape
from .complete import Known, functions
from .panel import ProbePanel

if TYPE_CHECKING:
    from ipywidgets import Widget

    from ..kernel.facts import KernelFacts

MOST = 50  # functions in the list


@dataclass(frozen=True)
class Actions:
    """What the panel may do, and ask; nothing here waits but the first three."""

    probe: Callable[[str], object]
    fresh_target: Callable[[], object]
    remove: Callable[[Any], None]
    runs: Callable[[], list[Any]]
    target: Callable[[], str]
    facts: Callable[[], KernelFacts | None]


class FullPanel(ProbePanel):
    """The panel of the whole session."""

    def __init__(self, actions: Actions) -> None:
        super().__init__(actions.runs, actions.remove)
        self.actions = actions
        self._target_shown = ""

    def text(self) -> str:
        """Return what it shows, without a widget."""
        return f"target: {clean(self.actions.target())}\n{super().text()}"

    __repr__ = text

    def above(self) -> list[Widget]:
        """Return the target's line and the search."""
        from ipywidgets import HTML, Button, HBox, Select, Text, VBox

        self._target = HTML()
        fresh = Button(description="Fresh sandbox", layout={"width": "130px"})
        fresh.on_click(lambda _: self.do(self.actions.fresh_target, "starting a fresh sandbox …"))
        self._search = Text(placeholder="a function: vfs_read, tcp_*", layout={"width": "300px"})
        self._search.observe(lambda change: self._look(change["new"]), "value")
        self._found = Select(options=[], rows=6, layout={"width": "760px", "display": "none"})
        probe = Button(description="Probe it", layout={"width": "100px"})
        probe.on_click(lambda _: self._probe())
        return [HBox([self._target, fresh]), VBox([HBox([self._search, probe]), self._found])]

    def beat(self) -> bool:
        """Show what has changed since the last time."""
        now = self.actions.target()
        if now != self._target_shown:
            self._target_shown = now
            self._target.value = f"<b>target</b>&nbsp; {escape(now)} &nbsp;"
        return super().beat()

    def _look(self, beginning: str) -> None:
        found = signatures(beginning.strip(), self.actions.facts()) if beginning.strip() else []
        self._found.options = found
        self._found.layout.display = "" if found else "none"

    def _probe(self) -> None:
        name = self._found.value or self._search.value.strip()
        if name:
            self.do(lambda: self.actions.probe(name), f"probing {name} …")


def signatures(beginning: str, facts: KernelFacts | None) -> list[tuple[str, str]]:
    """Return signature and name of functions that begin so, or match a shell pattern."""
    if facts is None:
        return []
    found = []
    for name in list(functions(beginning, Known(facts=facts)).words)[:MOST]:
        function = facts.btf.function(name)
        found.append((clean(facts.btf.prototype(function) if function else name), name))
    return found
