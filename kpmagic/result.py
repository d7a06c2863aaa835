# SPDX-License-Identifier: MIT
"""What a run of a probe has to show, be it live, finished or loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import KpmagicError
from .life import Life, Lived
from .model import Artifact, Plan, Probe, Site
from .rows import aggregates
from .rows.programs import Programs
from .rows.recording import Rows, site_name
from .rows.stack_names import STACKS, LookUp, StackNames, no_name
from .shown import Shown, View
from .stats import Emits, Stats, account

if TYPE_CHECKING:
    import pandas as pd

UNTOLD = ("target-lost", "error")  # ends at which an agent may not tell the aggregates
BRANCH = re.compile(r"\b(if|for|while|do|switch|goto|return)\b|\?|&&|\|\|")


class Result(Shown, Lived):
    """What is known of a probe and of its newest life."""

    _look_up: LookUp = staticmethod(no_name)
    _programs: Callable[[], Programs] = staticmethod(Programs)

    def __init__(
        self, plan: Plan, artifact: Artifact, target: str, view: View | None = None
    ) -> None:
        self.plan = plan
        self.artifact = artifact
        self.options = plan.probe.options
        self.name = self.options.name or default_name(plan)
        self.info: dict[str, Any] = _info(target, plan, artifact)
        self.failure: KpmagicError | None = None
        self.verifier_log = ""
        self._view = view
        self._life: Life
        self._aggregates: dict[str, pd.DataFrame] | None = None
        self._unsure: list[str] = []  # what there is to say of names in its aggregates

    # -- what it has seen -------------------------------------------------------------------

    def df(self, engine: str = "pandas") -> Any:
        """Return the rows so far: ``pandas`` or ``polars`` DataFrame, or an ``arrow`` Table."""
        return self._life.recording.df(engine)

    @property
    def recording(self) -> Rows:
        """The rows, as columns."""
        return self._life.recording

    @property
    def aggregates(self) -> dict[str, pd.DataFrame]:
        """Label → table: keys, then ``count``/``value``, or ``low``, ``high``, ``count``.

        While the probe runs, as the target has it now; afterwards, the last.
        """
        described = self.artifact.source.aggregates
        if not described:
            return {}
        if self._aggregates is not None:
            return dict(self._aggregates)
        over = self._life.ended.is_set()
        index, blob = self._maps()
        names = self.stack_names
        untold = None if self._life.reason in UNTOLD else b""
        found = aggregates.decode_all(described, index, blob, self.plan.cpus, names, untold)
        if over:
            self._unsure, self._aggregates = names.remarks(), found
        return dict(found)

    @property
    def remarks(self) -> list[str]:
        """What there is to say about this run besides its numbers."""
        said = super().remarks + self.losses_of_names
        described = self.artifact.source.aggregates
        if self._life.ended.is_set() and any(
            key.type.kind in STACKS for each in described for key in each.keys
        ):
            tables = self.aggregates
            said += self._unsure
            said += [text for each in described
                     for text in aggregates.remarks(each, tables[each.label])]  # fmt: skip
        return said + self._untold

    @property
    def _untold(self) -> list[str]:
        """What there is to say of aggregations whose end nobody has told."""
        labels = ", ".join(each.label for each in self.artifact.source.aggregates)
        if not labels or self._life.reason not in UNTOLD or not self._life.counters:
            return []
        if self._life.maps[0]:
            return [f"{labels}: as it was when it was last looked at; its end was not told"]
        return [f"{labels}: not known, its end was not told"]

    @property
    def losses_of_names(self) -> list[str]:
        """Nothing more: what there was to say of stacks without names is among the remarks."""
        return []

    @property
    def stack_names(self) -> StackNames:
        """What turns the addresses of keys into names; those it has told stay with the run."""
        return StackNames(self._look_up, self.info.setdefault("addresses", {}), self._programs)

    def _maps(self) -> tuple[list[dict[str, Any]], bytes]:
        """Return the bytes of the aggregates, and how they lie."""
        return self._life.maps

    @property
    def stats(self) -> Stats:
        """The numbers so far; exact once the run has ended."""
        life = self._life
        return account(
            life.counters,
            life.recording.rows,
            over=life.ended.is_set(),
            is_return=self.plan.probe.kind == "kretprobe",
            emits=emits(self.plan.probe, len(self.artifact.source.layouts)),
            missed=life.missed,
            in_flight=life.in_flight,
            injects=self.options.inject,
        )

    @property
    def source(self) -> str:
        """The generated source."""
        return self.artifact.source.shown

    @property
    def losses(self) -> list[tuple[int, int, int]]:
        """Each (rows that had arrived before, and after, rows dropped meanwhile)."""
        return list(self._life.losses)

    # -- showing ----------------------------------------------------------------------------

    def __repr__(self) -> str:
        if self._view is None:
            return f"<kpmagic.Run {self.name} {self.state} {self.recording.rows} rows>"
        return self._view.text(self)

    def _repr_html_(self) -> str | None:
        return None if self._view is None else self._view.html(self)


def default_name(plan: Plan) -> str:
    """Return a probe's name when the user gave none: its symbol, or the places as typed."""
    specs = plan.probe.specs
    if len(specs) == 1 and not specs[0].wild:
        return site_name(plan.sites[0]) or specs[0].text
    return ",".join(spec.text for spec in specs)


def left_out(plan: Plan, artifact: Artifact) -> list[dict[str, str]]:
    return [{"name": each.name, "why": each.why}
            for each in (*plan.left_out, *artifact.source.left_out)]  # fmt: skip


def _info(target: str, plan: Plan, artifact: Artifact) -> dict[str, Any]:
    first: Site = plan.sites[0]
    shown: Mapping[str, Any] = vars(plan.probe.options)
    return {
        "kernel_release": plan.release,
        "symbol": first.symbol,
        "address": first.address,
        "offset": first.offset,
        "sites": [site_name(site) for site in plan.sites],
        "backend": plan.probe.options.backend,
        "target": target,
        "options": dict(shown),
        "compiler": artifact.compiler,
        "build_seconds": artifact.seconds,
        "left_out": left_out(plan, artifact),
        "note": "; ".join(site.note for site in plan.sites if site.note),
    }


def emits(probe: Probe, layouts: int) -> Emits:
    """Return how many rows a hit has, as far as the body shows it at a glance."""
    if layouts > 1:
        return "many"
    straight = not BRANCH.search(probe.body or "") and not probe.options.defines
    return "one" if layouts and straight else "some"
