# SPDX-License-Identifier: MIT
"""Showing a widget, or its text where nothing can show one."""

from __future__ import annotations

from typing import Any

from IPython import display as ipython


def show_widget(widget: Any) -> None:
    """Show ``widget`` as an output of the cell."""
    put: Any = ipython.display
    put(widget)
