# SPDX-License-Identifier: MIT
"""Buttons that are pressed after their kernel has died: the sandbox's, and the notebook's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import expect


def test_buttons_after_the_sandbox_has_died(notebook: Any, shots: Path) -> None:
    book = notebook(
        "%load_ext kpmagic",
        "%%kprobe vfs_read --name reads\nemit(count);",
        "%kp panel",
        "%kp run 'cat /etc/hostname; echo c > /proc/sysrq-trigger; sleep 9'",
        "from kpmagic.session import session\nrun = session.find('reads')\n"
        "run.stopped_by, len(run.df()) == run.stats.rows > 0",
        "%kprobe vfs_read --name again --while 'cat /etc/hostname' --follow -o again",
        "len(again.df()) > 0",
    )
    book.run(0)
    card = book.run(1)
    panel = book.run(2)
    assert "TargetLost" in book.run(3).inner_text()
    for each in (card.locator(".kp-head"), panel):
        expect(each).to_contain_text("stopped (target-lost)")
    expect(card.get_by_role("button", name="Stop")).to_have_count(0)
    panel.get_by_role("button", name="Start").click()
    expect(panel).to_contain_text("TargetLost: sandbox is gone")
    expect(panel).to_contain_text("run the cell again")
    book.page.screenshot(path=shots / "dead-sandbox.png")
    assert "('target-lost', True)" in book.run(4).inner_text()
    panel.get_by_role("button", name="Fresh sandbox").click()
    expect(panel).to_contain_text("running")
    expect(panel).not_to_contain_text("TargetLost")
    book.run(5)
    expect(panel.locator("tbody tr", has_text="again")).to_contain_text("stopped (--while)")
    assert "True" in book.run(6).inner_text()


def test_buttons_after_the_notebooks_kernel_has_died(notebook: Any, shots: Path) -> None:
    book = notebook(
        "%load_ext kpmagic",
        "%%kprobe vfs_read --name reads\nemit(count);",
        "%kp panel",
        "import os\nos.kill(os.getpid(), 9)",
        "1 + 1",
        "%load_ext kpmagic",
        "%kp panel",
    )
    wrong: list[str] = []
    book.page.on("pageerror", lambda error: wrong.append(str(error)))
    book.run(0)
    card = book.run(1)
    panel = book.run(2)
    expect(panel.locator("tbody tr")).to_contain_text("running")
    book.start(3)
    dialog = book.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("died")
    dialog.get_by_role("button", name="Ok").click()
    for each in (card, panel):  # what ipywidgets puts beside what reaches nobody any more
        expect(each.locator("button.jupyter-widgets-disconnected").first).to_be_visible()
    card.get_by_role("button", name="Stop").click()
    for name in ("Stop", "Remove", "Fresh sandbox"):
        panel.get_by_role("button", name=name).click()
    book.page.screenshot(path=shots / "dead-notebook.png")
    assert "2" in book.run(4).inner_text()
    expect(card.locator(".kp-head")).to_contain_text("reads")  # the last state stays
    book.run(5)
    second = book.run(6)
    expect(second).to_contain_text("no probe yet")
    expect(second.get_by_role("button", name="Fresh sandbox")).to_be_enabled()
    assert set(wrong) <= {"Cannot send"}  # what ipywidgets says to the console, and nobody else
