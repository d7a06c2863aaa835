# SPDX-License-Identifier: MIT
"""The lessons in JupyterLab: how soon the first row is there, and what each looks like."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from lab_server import SETTINGS, Lab, end_kernels, folders_of_its_own, server_of
from playwright.sync_api import Locator, Page, expect

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
PATIENCE = 120_000  # ms
NOT_RUN = re.compile(r"\[ \]:")
NUMBERED = re.compile(r"\[\d+\]:")
FIRST_ROW = 60  # s after ``make lab``, on a machine that is set up


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab over a copy of the lessons, which play their recordings."""
    lab = Lab(tmp_path_factory.mktemp("lessons"), KPMAGIC_TARGET="replay")
    shutil.copytree(ROOT / "notebooks", lab.folder, dirs_exist_ok=True)
    yield lab
    lab.close()


def code_of(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def opened(page: Page, url: str, code: list[Any]) -> list[Locator]:
    """Open a notebook; return its code cells when its kernel waits for work."""
    page.goto(url)
    page.locator(".jp-Notebook .jp-CodeCell").nth(len(code) - 1).wait_for(timeout=PATIENCE)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=PATIENCE)  # the status bar
    return page.locator(".jp-Notebook .jp-CodeCell").all()


def prompt(cell: Locator) -> Locator:
    return cell.locator(".jp-InputArea-prompt")


def output(cell: Locator) -> Locator:
    return cell.locator(".jp-Cell-outputArea")


def shift_return(cell: Locator) -> None:
    cell.locator(".cm-content").click()
    cell.page.keyboard.press("Shift+Enter")


def begin(cells: list[Locator], run: Callable[[], object]) -> None:
    """Call ``run`` until the first cell runs: JupyterLab drops what comes before its session."""
    for _ in range(20):
        run()
        with contextlib.suppress(AssertionError):
            expect(prompt(cells[0])).not_to_have_text(NOT_RUN, timeout=3000)
            return
    raise AssertionError("the first cell does not run")


def run_all(page: Page, cells: list[Locator]) -> None:
    """Run all cells and wait for the last."""
    begin(cells, lambda: shift_return(cells[0]))
    expect(prompt(cells[0])).to_have_text(NUMBERED, timeout=PATIENCE)
    cells[1].locator(".cm-content").click()
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-below'); }")
    for before, cell in zip([None, *cells], cells, strict=False):
        shown = "" if before is None else output(before).inner_text()
        expect(prompt(cell), f"the cell before it shows: {shown}").to_have_text(
            NUMBERED, timeout=PATIENCE)  # fmt: skip


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name[:2])
def test_a_lesson_is_drawn_from_its_recording(
    path: Path, lessons: Lab, page: Page, shots: Path
) -> None:
    page.set_viewport_size({"width": 1280, "height": 1600})
    code = code_of(path)
    cells = opened(page, f"{lessons.url}lab/tree/{path.name}?reset", code)
    assert len(cells) == len(code)
    run_all(page, cells)
    for cell, source in zip(cells, code, strict=True):
        shown = output(cell)
        may_fail = "raises-exception" in source.metadata.get("tags", ())
        if not may_fail:
            assert "Traceback" not in shown.inner_text(), source.source
        if shown.locator(".js-plotly-plot, table, .kp-head, .jupyter-widgets, img").count():
            shown.scroll_into_view_if_needed()
            if shown.locator(".js-plotly-plot").count():
                shown.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=PATIENCE)
                page.wait_for_timeout(200)
            shown.screenshot(path=shots / f"lesson-{path.name[:2]}-{source.id}.png")
    end_kernels(page)


@contextmanager
def made_lab(folder: Path) -> Iterator[dict[str, Any]]:
    """``make lab``, with folders of its own for what Jupyter keeps; gives what the server says."""
    settings = SETTINGS | {"docmanager-extension/plugin": {"autosave": False}}
    environment = folders_of_its_own(folder, settings) | {"BROWSER": "/bin/true %s"}
    with (folder / "make.log").open("wb") as log:
        make = subprocess.Popen(
            ["make", "lab"], cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True, env=os.environ | environment,
        )  # fmt: skip
    try:
        yield server_of(folder / "runtime", make)
    finally:
        os.killpg(make.pid, signal.SIGTERM)
        make.wait(30)


@pytest.mark.kernel
def test_the_first_row_after_make_lab(tmp_path: Path, page: Page, shots: Path) -> None:
    lesson = LESSONS[0]
    before = lesson.read_bytes()
    code = code_of(lesson)
    first = next(index for index, cell in enumerate(code) if cell.id == "forks-head")
    begun = time.monotonic()
    with made_lab(tmp_path) as server:
        url = f"{server['url']}lab/tree/{lesson.name}?token={server['token']}"
        cells = opened(page, url, code)
        begin(cells, lambda: shift_return(cells[0]))
        for cell in cells[1 : first + 1]:
            shift_return(cell)
        expect(cells[first].locator("tbody tr").first).to_be_visible(timeout=PATIENCE)
        took = time.monotonic() - begun
        cells[first].scroll_into_view_if_needed()
        page.screenshot(path=shots / "lesson-01-first-row.png")
        end_kernels(page)
    print(f"make lab to the first row: {took:.1f} s")
    (shots / "first-row.txt").write_text(f"{took:.1f} s from make lab to the first row\n")
    assert took < FIRST_ROW
    assert lesson.read_bytes() == before
