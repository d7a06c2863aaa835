# SPDX-License-Identifier: MIT
"""What a card says of a probe's places: how many a wildcard stands for, and what it left out."""

from __future__ import annotations

from ..run import Run

NAMED = 3


def place_notes(run: Run) -> list[str]:
    """Return what there is to say, a line each."""
    notes = [run.info["note"]] if run.info["note"] else []
    wild = [spec.text for spec in run.plan.probe.specs if spec.wild]
    if wild:
        places = len({(each.symbol, each.address) for each in run.artifact.source.programs})
        notes.append(f"{' '.join(wild)}: {places} {'function' if places == 1 else 'functions'}")
    by_reason: dict[str, list[str]] = {}
    for each in run.info["left_out"]:
        by_reason.setdefault(each["why"], []).append(each["name"])
    return notes + [f"left out {_names(names)}: {why}" for why, names in by_reason.items()]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
