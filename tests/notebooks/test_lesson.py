# SPDX-License-Identifier: MIT
"""The first lesson runs from top to bottom, and what it says is what it shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


def test_the_lesson_holds_what_a_repository_should(lesson: Any) -> None:
    path = REPOSITORY / "notebooks/01-first-probe.ipynb"
    assert path.stat().st_size < 100_000
    assert all(not cell.get("outputs") for cell in lesson.cells)
    assert "/home/" not in path.read_text()


@pytest.mark.timeout(240)
def test_the_lesson_shows_what_it_says(default_kernel: str) -> None:
    command = [sys.executable, str(REPOSITORY / "notebooks/execute.py")]
    done = subprocess.run([*command, str(REPOSITORY / "notebooks/01-first-probe.ipynb")],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hits 23 = rows 23 + filtered 0 + sampled 0 + dropped 0" in done.stdout
    assert "do_fork → kernel_clone: renamed _do_fork in 4.2, kernel_clone in 5.10" in done.stdout
    assert done.stdout.rstrip().count("1007") >= 3  # two cells ask for it, two show it


@pytest.mark.timeout(240)
def test_nbmake_fails_a_notebook_with_an_error_and_runs_its_other_cells(tmp_path: Path) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    wrong = "%kprobe vfs_read --fro 1s"
    notebook = new_notebook(cells=[new_code_cell("%load_ext kpmagic"), new_code_cell(wrong)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "wrong.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbmake", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "--rootdir", str(tmp_path), "wrong.ipynb"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "CellError: " in done.stdout
    assert "--for" in done.stdout
