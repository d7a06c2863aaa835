# SPDX-License-Identifier: MIT
"""Runners of notebooks see what failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


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
