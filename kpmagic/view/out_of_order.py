# SPDX-License-Identifier: MIT
"""A cell that uses what a cell further up makes, and was run before it: which cell that is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython import get_ipython

from ..errors import KpmagicError
from .clean import clean

MADE = r"(?:^%%?[a-z]+\b[^\n]*\s(?:-o|--out)[ =]{name}\b)|(?:^{name}\s*(?:,[^=\n]*)?=(?!=))"
_watching: list[Callable[[Any], None]] = []


def watch(folder: Path, number: str) -> None:
    """After a NameError in this notebook, name the cell of lesson ``number`` that makes the name.

    The lesson is the notebook in ``folder`` whose name begins with its number.
    """
    shell = get_ipython()
    if shell is None:
        return

    def after(result: Any) -> None:
        error = result.error_in_exec
        if isinstance(error, KpmagicError):  # of a magic's line, -D LIMIT=$limit
            error = error.__context__
        name = error.name if isinstance(error, NameError) else ""
        if name and (hint := hint_for(name, _cells(folder, number))):
            print(hint)

    for old in _watching:
        shell.events.unregister("post_run_cell", old)
    _watching[:] = [after]
    shell.events.register("post_run_cell", after)


def hint_for(name: str, cells: list[str]) -> str:
    """Return which of ``cells`` makes ``name``; ``""`` when none does."""
    made = re.compile(MADE.format(name=re.escape(name)), re.MULTILINE)
    for cell in cells:
        if made.search(cell):
            first = clean(cell.strip().splitlines()[0])
            return (f"hint: {name!r} is made by a cell further up, which has not been run yet:\n"
                    f"    {first}\n"
                    "run the cells from the top, in order: in JupyterLab 'Run', then "
                    "'Run All Above Selected Cell'")  # fmt: skip
    return ""


def _cells(folder: Path, number: str) -> list[str]:
    """Return the code of a lesson's cells; nothing where the notebook cannot be read."""
    for path in sorted(folder.glob(f"{number}-*.ipynb")):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            return ["".join(each["source"]) for each in cells if each["cell_type"] == "code"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return []
