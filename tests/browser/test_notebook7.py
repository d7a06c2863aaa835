# SPDX-License-Identifier: MIT
"""The same in Notebook 7, which is another front end on JupyterLab's parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

DEMO = "notebooks/01-first-probe.ipynb"  # what make demo runs


def test_the_demo_notebook(notebook: Any, shots: Path, request: pytest.FixtureRequest) -> None:
    book = notebook(
        "%%kprobe vfs_read --name all_reads\nemit(count);",
        "%kp run cat /etc/passwd",
        "%kp panel",
        before=request.config.rootpath / DEMO,
        where="notebooks",
    )
    expect(book.page).to_have_title(re.compile("test_the_demo"))
    assert book.page.locator(".jp-LabShell").count() == 0
    for number in range(3):
        book.run(number)
    forks = book.run(3).locator(".kp-head")
    expect(forks).to_contain_text("kernel_clone  stopped (--while)  23 rows")
    book.page.screenshot(path=shots / "notebook7-demo.png")

    first = book.page.locator(".jp-Notebook .jp-CodeCell").count() - 3
    card = book.run(first)
    book.run(first + 1)
    expect(card.locator(".kp-head")).to_contain_text("running")
    expect(card.locator("tbody tr").first).to_be_visible()
    card.get_by_role("button", name="Stop").click()
    expect(card.locator(".kp-head")).to_contain_text("stopped (user)")

    panel = book.run(first + 2)
    row = panel.locator("tbody tr", has_text="all_reads")
    expect(row).to_contain_text("stopped (user)")
    line = panel.locator(".widget-hbox", has=book.page.get_by_role("button", name="Remove")).last
    line.get_by_role("button", name="Start").click()
    expect(row).to_contain_text("running")
    line.get_by_role("button", name="Stop").click()
    expect(row).to_contain_text("stopped (user)")
    panel.scroll_into_view_if_needed()
    book.page.screenshot(path=shots / "notebook7-panel.png")
    line.get_by_role("button", name="Remove").click()
    expect(panel.locator("tbody tr", has_text="all_reads")).to_have_count(0)
