# SPDX-License-Identifier: MIT
"""The programs that run a notebook without its user, each on either ipykernel."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IPYKERNEL_6 = ROOT / ".venv" / "ipykernel6"
NBCLIENT = """\
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout=200).execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""
# what each is called, and its command, to which the notebook is added; all save it in its place
COMMANDS = {
    "nbclient": [sys.executable, "-c", NBCLIENT],
    "nbmake": [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "--nbmake-timeout=200",
               "-q", "-p", "no:cacheprovider"],
    "jupyter execute": [str(Path(sys.executable).parent / "jupyter"), "execute", "--inplace",
                        "--timeout=200"],
}  # fmt: skip


@dataclass(frozen=True)
class Runner:
    """A runner on one ipykernel."""

    name: str
    ipykernel: int

    def run(self, notebook: Path) -> subprocess.CompletedProcess[str]:
        """Run a notebook in its folder, and save it there."""
        environment = dict(os.environ) | {"IPYKERNEL": str(self.ipykernel)}
        if self.ipykernel == 6:
            assert IPYKERNEL_6.exists(), "make test-runners puts it there (.ci/ipykernel6)"
            environment["PYTHONPATH"] = str(IPYKERNEL_6)
        return subprocess.run(
            [*COMMANDS[self.name], notebook.name], cwd=notebook.parent, env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip


EACH = [Runner(name, version) for version in (6, 7) for name in COMMANDS]
# where time is short: every runner, and either ipykernel
SHORT = [Runner("jupyter execute", 6), Runner("nbclient", 7), Runner("nbmake", 7)]
WHOLE = bool(os.environ.get("KPMAGIC_ALL_RUNNERS"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, runners in (("runner", EACH if WHOLE else SHORT), ("any_runner", EACH)):
        if name in metafunc.fixturenames:
            ids = [f"{each.name} on ipykernel {each.ipykernel}" for each in runners]
            metafunc.parametrize(name, runners, ids=ids)
