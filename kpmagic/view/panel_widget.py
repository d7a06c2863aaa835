# SPDX-License-Identifier: MIT
"""A panel as an ipywidget, which others may hold; imported when one is asked for."""

from __future__ import annotations

from typing import Any

from ipywidgets import VBox

from .panel import ProbePanel


class PanelWidget(VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The widget of a panel; where only text can be shown it is the panel's text."""

    def __init__(self, panel: ProbePanel) -> None:
        super().__init__([panel.widget()])
        self.panel = panel

    def __repr__(self) -> str:
        return self.panel.text()

    def _repr_mimebundle_(self, **how: object) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**how)
        return bundle | {"text/plain": self.panel.text()}
