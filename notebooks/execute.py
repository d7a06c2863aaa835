# SPDX-License-Identifier: MIT
"""Run a notebook without a browser and print what its cells show.

``python notebooks/execute.py NOTEBOOK``: exit code 1 when a cell failed. The file is not changed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

RULE = "-" * 72


def text_of(output: Any) -> str:
    """Return an output as plain text; ``""`` for one that has none."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return str(output.get("data", {}).get("text/plain", ""))


def show(cell: Any) -> None:
    """Print a cell's source, then its outputs."""
    print(RULE)
    print(cell.source)
    for output in cell.get("outputs", ()):
        if text := text_of(output).rstrip():
            print(f"\n{text}")
    sys.stdout.flush()


def main(path: Path) -> int:
    """Execute the notebook at ``path``, each code cell shown as soon as it has run."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}})
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            try:
                client.execute_cell(cell, index)
            except CellExecutionError:
                show(cell)
                return 1
            show(cell)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python notebooks/execute.py NOTEBOOK")
    sys.exit(main(Path(sys.argv[1])))
