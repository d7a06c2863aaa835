# SPDX-License-Identifier: MIT
"""``run.export``: a run in the formats of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..cell.syntax import suggestion
from ..errors import CellError, RecordingError
from ..saved.paths import path_of
from ..whole import replacing
from . import perfetto as perfetto_format
from .seen import Seen, rows
from .stacks import folded as one_line
from .stacks import is_stacks, stacks

SPEEDSCOPE = "https://www.speedscope.app/file-format-schema.json"


def export(seen: Seen, form: str, path: str | Path) -> Path:
    """Write ``seen`` to ``path`` and return it. Raises CellError, RecordingError."""
    if form not in FORMATS:
        hint = suggestion(form, FORMATS) or f"there are {', '.join(FORMATS)}"
        raise CellError(f"no format {form!r} to export to", hint=hint)
    data = FORMATS[form](seen)
    target = path_of(path)
    try:
        with replacing(target) as file:
            file.write(data)
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        raise RecordingError(
            f"cannot write {str(target)!r}: {getattr(error, 'strerror', error)}",
            hint="choose a file in a folder you may write to",
        ) from None
    return target


def csv(seen: Seen) -> bytes:
    """Return the rows; of a run without rows, its only aggregate."""
    tables = list(seen.aggregates.values())
    frame = tables[0] if len(tables) == 1 and not len(seen.df()) else rows(seen)
    lists = [name for name in frame.columns if len(frame) and is_stacks(frame[name])]
    shown = frame.assign(**{name: frame[name].map(_folded_cell) for name in lists})
    text: str = shown.to_csv(index=False)
    return text.encode("utf-8", errors="replace")


def _folded_cell(stack: Any) -> str:
    return "" if stack is None else one_line(map(str, stack[::-1]))


def folded(seen: Seen) -> bytes:
    """Return a line for each stack, its weight last: what flamegraph.pl reads."""
    found = stacks(seen)
    lines = [f"{one_line(stack)} {round(weight)}\n" for stack, weight in found.weights.items()]
    return "".join(lines).encode("utf-8", errors="replace")


def speedscope(seen: Seen) -> bytes:
    """Return the stacks as www.speedscope.app reads them."""
    found = stacks(seen)
    names: dict[str, int] = {}
    samples = [[names.setdefault(name, len(names)) for name in stack] for stack in found.weights]
    profile = {
        "type": "sampled", "name": found.what, "unit": "none", "startValue": 0,
        "endValue": sum(found.weights.values()), "samples": samples,
        "weights": list(found.weights.values()),
    }  # fmt: skip
    whole = {
        "$schema": SPEEDSCOPE,
        "name": seen.name,
        "exporter": "kpmagic",
        "shared": {"frames": [{"name": name} for name in names]},
        "profiles": [profile],
    }
    return json.dumps(whole).encode()


def perfetto(seen: Seen) -> bytes:
    """Return a trace that ui.perfetto.dev opens."""
    frame = rows(seen)
    missing = [name for name in perfetto_format.THREAD if name not in frame.columns]
    if missing:
        raise CellError(f"{seen.name}: its rows do not tell their threads: no {', '.join(missing)}",
                        hint="export('csv', …) takes rows of any kind")  # fmt: skip
    return perfetto_format.trace(frame, seen.name)


FORMATS: dict[str, Callable[[Seen], bytes]] = {
    "csv": csv,
    "folded": folded,
    "speedscope": speedscope,
    "perfetto": perfetto,
}
