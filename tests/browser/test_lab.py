# SPDX-License-Identifier: MIT
"""What a user sees in JupyterLab. Screenshots are in build/screenshots."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

BUSY = "i=0; while [ $i -lt {} ]; do cat /etc/passwd >/dev/null; sleep 0.1; i=$((i+1)); done"
HOSTILE = "<img src=x onerror=alert(1)>"


def rows_on(card: Locator) -> int:
    found = re.search(r"(\d+) rows", card.locator(".kp-head").inner_text())
    return int(found[1]) if found else 0


def plots(output: Locator) -> Locator:
    """Plots that have been drawn, titles and all."""
    return output.locator(".js-plotly-plot .main-svg .xtitle")


def test_a_card_counts_up_and_stops(notebook: Any, shots: Path) -> None:
    book = notebook(
        "%load_ext kpmagic",
        f"%%kprobe vfs_read -o none --while '{BUSY.format(3)}' --follow\nemit(count);",
        "%%kprobe vfs_read\nemit(count);",
        f"%kp run {BUSY.format(20)}",
        "",
        f"%%kprobe vfs_read --name while --while '{BUSY.format(600)}' --follow\nemit(count);",
        "_.stopped_by, len(_.df()) == _.stats.rows > 0",
        "1 + 1",
    )
    assert book.run(0).inner_text() == ""
    assert book.run(1).inner_text() == ""  # -o shows nothing
    card = book.run(2)
    book.run(3)
    expect(card.locator(".kp-head")).to_contain_text("running")
    expect(card.locator("tbody tr").first).to_be_visible()
    before = rows_on(card)
    book.start(3)
    expect(book.prompt(3)).to_have_text("[*]:")
    card.scroll_into_view_if_needed()
    book.page.screenshot(path=shots / "card-running.png")
    book.page.wait_for_timeout(1500)
    assert rows_on(card) > before
    expect(book.prompt(3)).not_to_have_text("[*]:")
    card.get_by_role("button", name="Stop").click()
    expect(card.locator(".kp-head")).to_contain_text("stopped (user)")
    expect(card.get_by_role("button", name="Stop")).to_have_count(0)
    expect(card).to_contain_text(re.compile(r"20 of [\d ]+ rows"))

    waiting = book.start(5)
    expect(waiting.locator(".kp-head")).to_contain_text("running")
    expect(waiting).to_contain_text("interrupting the kernel")
    book.page.wait_for_timeout(1000)
    book.page.screenshot(path=shots / "card-waiting.png")
    book.page.get_by_role("button", name="Interrupt").click()
    expect(waiting.locator(".kp-head")).to_contain_text("stopped (interrupt)")
    expect(waiting).not_to_contain_text("interrupting the kernel")
    assert "('interrupt', True)" in book.run(6).inner_text()
    assert book.run(7).inner_text().split() == ["[8]:", "2"]  # nothing of the threads lands here
    book.page.screenshot(path=shots / "card-stopped.png")
    saved = book.save()
    assert book.file.stat().st_size < 100_000
    assert "widgets" not in saved.metadata


def test_plots_appear_and_follow(notebook: Any, shots: Path) -> None:
    book = notebook(
        "%load_ext kpmagic",
        f"%%kretprobe vfs_read --while '{BUSY.format(60)}' --follow --show plot\n"
        "emit(count, latency);",
        "run = _\nrun.plot('rate')",
        "run.plot('hist', 'latency', by='comm')",
        f"%%kprobe vfs_read --while 'cp /bin/cat \"/tmp/{HOSTILE[:11]}\"; "
        f"\"/tmp/{HOSTILE[:11]}\" /etc/passwd' --follow -q\ncount(by = comm);",
        "_.plot()",
        "run.live('rate')",
    )
    book.run(0)
    output = book.start(1)
    expect(output.locator(".kp-head")).to_contain_text("running")
    expect(plots(output)).to_have_count(1)
    title = output.locator(".xtitle")
    expect(title).to_contain_text("time since")
    expect(output.locator(".kp-head")).to_contain_text("stopped (--while)")
    expect(title).to_contain_text("(s)")  # it has followed: the first were ms
    expect(output.locator("table")).to_have_count(0)
    for number in (2, 3, 5, 6):
        if number == 5:
            book.run(4)
        expect(plots(book.run(number))).to_have_count(1)
    expect(book.output(5)).to_contain_text("<img src=x")
    assert book.page.locator("img[src=x]").count() == 0
    for number, name in ((1, "plot-heatmap"), (2, "plot-rate"), (3, "plot-hist"), (5, "plot-bars"),
                         (6, "live")):
        book.output(number).scroll_into_view_if_needed()
        book.output(number).screenshot(path=shots / f"{name}.png")
    book.dark()
    book.output(1).scroll_into_view_if_needed()
    book.page.screenshot(path=shots / "plot-dark.png")
    book.save()
    assert book.file.stat().st_size < 500_000


def test_help_while_typing(notebook: Any, shots: Path) -> None:
    book = notebook("%load_ext kpmagic", "", "%kp target sandbox", "%kp sig vfs_read")

    def offered(text: str) -> Locator:
        items = book.page.locator(".jp-Completer-item")
        for _ in range(5):  # JupyterLab waits 2 s for an answer, a busy machine takes longer
            book.type(1, text)
            book.page.keyboard.press("Tab")
            with contextlib.suppress(AssertionError):
                expect(items.first).to_be_visible(timeout=6000)
                break
        return items

    book.run(0)
    offered("%%kprobe vfs_read --f")
    expect(book.page.locator(".jp-Completer")).to_contain_text("--follow")
    book.page.keyboard.press("Escape")
    book.run(2)
    book.run(3)  # now the facts are there
    offered("%%kprobe vfs_re")
    book.page.screenshot(path=shots / "complete-function.png")
    expect(book.page.locator(".jp-Completer")).to_contain_text("vfs_read")
    book.page.keyboard.press("Escape")
    offered("%%kprobe vfs_read\nemit(file->f_p")
    book.page.screenshot(path=shots / "complete-member.png")
    expect(book.page.locator(".jp-Completer")).to_contain_text("f_path")
    book.page.locator(".jp-Completer-item", has_text="f_path").click()
    expect(book.cell(1).locator(".cm-content")).to_contain_text("emit(file->f_path")


def test_the_panel(notebook: Any, shots: Path) -> None:
    book = notebook(
        "%load_ext kpmagic",
        "%kp panel",
        "%kprobe vfs_write --name writes -q",
        "%kp run cat /etc/passwd",
        "%kp panel",
        "%kp list",
    )
    book.run(0)
    panel = book.run(1)
    expect(panel).to_contain_text("no probe yet")
    book.run(2)
    expect(panel).to_contain_text("writes")
    expect(panel).to_contain_text("running")
    search = panel.get_by_placeholder("a function")
    search.fill("vfs_rea*")
    search.press("Tab")
    choice = panel.locator("option", has_text="ssize_t vfs_read(struct file *file")
    expect(choice.first).to_be_attached()
    panel.locator("select").select_option(label=choice.first.inner_text())
    panel.get_by_role("button", name="Probe it").click()
    row = panel.locator("tbody tr", has_text="vfs_read")
    expect(row).to_contain_text("running")
    book.run(3)
    expect(row).not_to_contain_text(re.compile(r"running\s+0\s+0"))
    book.page.screenshot(path=shots / "panel.png")

    second = book.run(4)
    expect(second.locator("tbody tr")).to_have_count(2)
    second.get_by_role("button", name="Stop").nth(1).click()
    for each in (panel, second):
        expect(each.locator("tbody tr", has_text="vfs_read")).to_contain_text("stopped (user)")
    panel.get_by_role("button", name="Start").nth(1).click()
    for each in (panel, second):
        expect(each.locator("tbody tr", has_text="vfs_read")).to_contain_text("running")
    panel.get_by_role("button", name="Remove").nth(1).click()
    for each in (panel, second):
        expect(each.locator("tbody tr")).to_have_count(1)
    assert "vfs_read" not in book.run(5).inner_text()
    book.page.screenshot(path=shots / "panels.png")
