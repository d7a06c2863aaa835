# SPDX-License-Identifier: MIT
"""What every run has to show itself, live, finished or loaded: thin, and imported when used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from .errors import CellError

if TYPE_CHECKING:
    from .exported.seen import Seen


class View(Protocol):
    """How a run is shown: view/card.py, and module_card.py and peer_card.py there."""

    def text(self, run: Any) -> str:
        """Return the card as text."""

    def html(self, run: Any) -> str:
        """Return the card as HTML."""

    def plot(self, run: Any, kind: str | None, **columns: str) -> Any:
        """Return a figure of ``kind``, or of the kind that suits the run."""

    def flame(self, run: Any, **chosen: str) -> Any:
        """Return an icicle of the run's stacks."""

    def live(self, run: Any, kind: str | None) -> Any:
        """Return a widget with a plot that follows the run."""

    def panel(self, run: Any) -> Any:
        """Return a widget with the run's numbers and buttons."""


class Shown:
    """A run that can be looked at through its view."""

    _view: View | None

    def plot(
        self,
        kind: str | None = None,
        column: str = "",
        *,
        x: str = "",
        y: str = "",
        by: str = "",
        label: str = "",
    ) -> Any:
        """Return a ``plotly.graph_objects.Figure`` of the rows or aggregates so far.

        ``kind`` is rate (of rows), hist, scatter, heatmap (a column over time), bars or flame;
        without it, the kind that suits the run. hist and heatmap are of ``column``, scatter of
        ``x`` and ``y``; ``by`` names the column whose values are shown apart, ``label`` the
        aggregate. Raises CellError.
        """
        named = {"column": column, "x": x, "y": y, "by": by, "label": label}
        _check_names("plot", kind=kind, **named)
        return self._viewer().plot(self, kind, **named)

    def flame(self, column: str = "", *, value: str = "", label: str = "") -> Any:
        """Return an icicle of the stacks in the rows or aggregates, as a plotly Figure.

        ``column`` holds the stacks; they are weighed by rows, by the sum of the column
        ``value``, or as the aggregate ``label`` was. Raises CellError.
        """
        _check_names("flame", column=column, value=value, label=label)
        return self._viewer().flame(self, column=column, value=value, label=label)

    def live(self, kind: str | None = None) -> Any:
        """Return a widget: the run's numbers, its buttons, and a plot of ``kind`` that follows it.

        Where there are no widgets it is a line of text. Raises CellError.
        """
        _check_names("live", kind=kind)
        return self._viewer().live(self, kind)

    def panel(self) -> Any:
        """Return a widget: the run's numbers, and buttons to start and stop it."""
        return self._viewer().panel(self)

    def export(self, format: str, path: str | Path) -> Path:
        """Write the run to ``path`` and return it.

        ``format`` is csv (rows), folded or speedscope (stacks), or perfetto (rows, as slices).
        Raises CellError, RecordingError.
        """
        from .exported.formats import export

        _check_names("export", format=format)
        return export(cast("Seen", self), format, path)

    def _viewer(self) -> View:
        if self._view is None:
            raise CellError("this run was made without a view", hint="kpmagic.probe gives it one")
        return self._view


def _check_names(what: str, **given: object) -> None:
    """Refuse a column, or a list of names, where one name is asked for. Raises CellError."""
    for argument, name in given.items():
        if name is not None and not isinstance(name, str):
            raise CellError(f"{what}: {argument} takes a name, not a {type(name).__name__}",
                            hint=f"{what}({argument}='NAME')")  # fmt: skip
