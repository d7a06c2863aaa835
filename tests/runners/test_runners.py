# SPDX-License-Identifier: MIT
"""One notebook under every runner: it passes, a broken one fails, and what is saved is clean."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

LARGEST = 500_000
CELLS = (
    "import os, ipykernel\nassert ipykernel.version_info[0] == int(os.environ['IPYKERNEL'])",
    "%load_ext kpmagic",
    "%%kprobe do_fork --while 'i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done' --follow\n"
    "emit(flags = args->flags);",
    "assert len(_.df()) == 23",
    "%%kretprobe vfs_read --while 'cat /etc/passwd /etc/services' --follow -o reads\n"
    "emit(count, latency);\nhist(latency, by = comm);",
    "reads",
    "reads.plot('hist', 'latency')",
    "reads.plot('rate')",
    "%%kprobe vfs_read --bg --name background --show plot\ncount(by = comm);",
    "%kp run cat /etc/passwd",
    "%kp panel",
    "reads.panel()",
    "reads.live()",
    "%kp list",
    "%kp stop all",
    "%kp sig vfs_read",
    "%kp target",
)
BROKEN = {
    "an option that there is not": "%kprobe vfs_read --fro 1s",
    "no end": "%kprobe vfs_read",
}


def written(folder: Path, cells: tuple[str, ...]) -> Path:
    """Write a notebook; return its path."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = folder / "notebook.ipynb"
    nbformat.write(made, path)
    return path


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.outputs]


def check_saved(path: Path) -> None:
    """What is saved is small, and tells nothing of the machine and of who ran it."""
    text = path.read_text()
    saved = nbformat.reads(text, as_version=4)
    assert len(text) < LARGEST, f"{path.name}: {len(text)} bytes"
    assert "widgets" not in saved.metadata
    assert not [out for out in outputs(saved) if "widget-view" in str(out.get("data", {}).keys())]
    for place in (path.parent, Path.cwd(), Path.home(), sys.prefix, Path(__file__).parents[2]):
        assert len(str(place)) < 4 or f"{place}/" not in text, place
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    print(f"{path.name}: {len(text)} bytes saved")


@pytest.mark.timeout(400)
def test_the_notebook_passes(runner: Any, tmp_path: Path) -> None:
    path = written(tmp_path, CELLS)
    done = runner.run(path)
    assert done.returncode == 0, done.stdout + done.stderr
    saved = nbformat.read(path, as_version=4)
    assert all(cell.execution_count for cell in saved.cells)
    assert "23 rows" in str(saved.cells[2].outputs)
    assert "application/vnd.plotly.v1+json" in str(saved.cells[6].outputs)
    check_saved(path)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_one_fails(any_runner: Any, wrong: str, tmp_path: Path) -> None:
    path = written(tmp_path, ("%load_ext kpmagic", BROKEN[wrong], "'not reached'"))
    done = any_runner.run(path)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "CellError" in done.stdout + done.stderr
    check_saved(path)
