# SPDX-License-Identifier: MIT
"""A Jupyter kernel to run cells in, one at a time, as a notebook runner does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

from kpmagic.targets import kernels


class Notebook:
    """A running notebook: ``run`` executes one more cell and returns it with its outputs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.notebook = new_notebook()
        self.client = NotebookClient(
            self.notebook, timeout=120, kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )  # fmt: skip
        stack.enter_context(self.client.setup_kernel())

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return int(self.client.km.provisioner.pid)

    def run(self, source: str) -> Any:
        """Execute a cell. Raises CellExecutionError, as every runner sees it."""
        return self.execute(new_code_cell(source))

    def execute(self, cell: Any) -> Any:
        """Execute a cell of another notebook, with its tags."""
        self.notebook.cells.append(cell)
        return self.client.execute_cell(cell, len(self.notebook.cells) - 1)

    def fails(self, source: str) -> Any:
        """Execute a cell that must fail; return its error output."""
        with pytest.raises(CellExecutionError):
            self.run(source)
        errors = [out for out in self.notebook.cells[-1].outputs if out.output_type == "error"]
        assert len(errors) == 1
        return errors[0]

    def value(self, expression: str) -> str:
        """Return the text of an expression's value in the notebook."""
        outputs = self.run(expression).outputs
        return str(outputs[-1].data["text/plain"])


@contextmanager
def changed(environment: dict[str, str]) -> Iterator[None]:
    """Have more in the environment for a while."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


Open = Callable[..., Notebook]


@pytest.fixture(scope="session")
def default_kernel() -> str:
    """The default kernel, fetched if it was not."""
    return kernels.fetch(kernels.DEFAULT).version


@pytest.fixture(scope="module")
def open_notebook(default_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Starts notebooks with kpmagic loaded, with more in their environment if wanted."""
    with ExitStack() as stack:

        def start(**environment: str) -> Notebook:
            with changed(environment):
                notebook = Notebook(tmp_path_factory.mktemp("notebook"), stack)
            notebook.run("%load_ext kpmagic")
            return notebook

        yield start


@pytest.fixture(scope="module")
def notebook(open_notebook: Open) -> Notebook:
    """One notebook for all tests of a module."""
    return open_notebook()


@pytest.fixture
def open_lesson() -> Iterator[Callable[..., Notebook]]:
    """Starts a notebook in the lessons' folder, with more in its environment if wanted."""
    with ExitStack() as stack:

        def start(lesson: Any, **environment: str) -> Notebook:
            with changed(environment):
                return Notebook(lesson.path.parent, stack)

        yield start
