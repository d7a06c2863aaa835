# SPDX-License-Identifier: MIT
"""JupyterLab and Notebook 7 in a headless Chromium: one server and one browser for all tests."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab_server import Lab, end_kernels

playwright = pytest.importorskip("playwright.sync_api")
Page, Locator = playwright.Page, playwright.Locator
playwright.expect.set_options(timeout=60_000)

NUMBERED = re.compile(r"\[\d+\]:")
PATIENCE = 120_000  # ms: a guest boots under emulation
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Notebook:
    """A notebook in the browser; its code cells are counted from 0."""

    def __init__(self, page: Page, lab: Lab, name: str, made: Any, where: str) -> None:
        self.page = page
        self.file = lab.folder / f"{name}.ipynb"
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(made, self.file)
        page.goto(f"{lab.url}{where}/{self.file.name}?reset")
        cells = sum(cell.cell_type == "code" for cell in made.cells)
        page.locator(".jp-Notebook .jp-CodeCell").nth(cells - 1).wait_for(timeout=PATIENCE)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(
            timeout=PATIENCE)  # fmt: skip

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def start(self, number: int) -> Locator:
        """Run a cell and do not wait; return its output."""
        before = self.prompt(number).inner_text()
        for _ in range(10):  # JupyterLab drops what is run before its session is there
            self.cell(number).locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
            with contextlib.suppress(AssertionError):
                playwright.expect(self.prompt(number)).not_to_have_text(before, timeout=3000)
                break
        return self.output(number)

    def prompt(self, number: int) -> Locator:
        return self.cell(number).locator(".jp-InputArea-prompt")

    def run(self, number: int) -> Locator:
        """Run a cell and wait until it has ended; return its output."""
        output = self.start(number)
        playwright.expect(self.prompt(number)).to_have_text(NUMBERED, timeout=PATIENCE)
        return output

    def output(self, number: int) -> Locator:
        return self.cell(number).locator(".jp-Cell-outputArea")

    def type(self, number: int, text: str) -> None:
        """Put ``text`` in place of a cell's, by keyboard."""
        self.cell(number).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)

    def dark(self) -> None:
        """Change to the dark theme."""
        self.page.evaluate("""() => jupyterapp.commands.execute(
            'apputils:change-theme', {theme: 'JupyterLab Dark'})""")
        self.page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
        self.page.wait_for_timeout(500)

    def save(self) -> Any:
        """Save the notebook and return what is in its file."""
        before = self.file.stat().st_mtime_ns
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        for _ in range(100):
            if self.file.stat().st_mtime_ns != before:
                break
            time.sleep(0.1)
        return nbformat.read(self.file, as_version=4)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running JupyterLab."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    names = ("chromium", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    assert program, "these tests need Chromium: apt-get install chromium"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Path:
    """Where screenshots go: kept, to be looked at."""
    folder = request.config.rootpath / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    """A fresh page."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


@pytest.fixture
def notebook(lab: Lab, page: Page, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open a notebook of these cells; its kernel ends with the test."""
    opened: list[Notebook] = []

    def open_(*cells: str, before: Path | None = None, where: str = "lab/tree") -> Notebook:
        """``cells`` behind those of the notebook in file ``before``."""
        made = nbformat.read(before, as_version=4) if before else nbformat.v4.new_notebook()
        made.cells += map(nbformat.v4.new_code_cell, cells)
        opened.append(Notebook(page, lab, request.node.name, made, where))
        return opened[-1]

    yield open_
    end_kernels(page)
