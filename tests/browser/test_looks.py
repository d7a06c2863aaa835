# SPDX-License-Identifier: MIT
"""Trees of types and a panel full of probes: what they look like, in light and in dark."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

MANY = 100
# of each text node: how much its colour differs from what is behind it, as WCAG 2 counts it
CONTRASTS = """(output) => {
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => rgb.map((v) => v / 255)
        .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const found = parts(getComputedStyle(each).backgroundColor);
            if ((found[3] ?? 1) > 0.5) return found.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const opacity = (element) => {
        let product = 1;
        for (let each = element; each; each = each.parentElement)
            product *= Number(getComputedStyle(each).opacity);
        return product;
    };
    const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    const found = {};
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim() || !element.checkVisibility() || element.closest('[disabled]'))
            continue;
        const back = behind(element), share = opacity(element);
        const ink = parts(getComputedStyle(element).color).slice(0, 3)
            .map((v, at) => v * share + back[at] * (1 - share));
        const [less, more] = [light(ink), light(back)].sort((a, b) => a - b);
        found[node.data.trim().slice(0, 60)] = (more + 0.05) / (less + 0.05);
    }
    return found;
}"""


def readable(*outputs: Locator) -> None:
    """All text is set off from what is behind it: 4.5 to 1, as WCAG asks."""
    for output in outputs:
        ratios = output.evaluate(CONTRASTS)
        assert ratios
        assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}


def test_trees_in_light_and_dark(notebook: Any, shots: Path) -> None:
    book = notebook(
        "%load_ext kpmagic",
        "%kp target sandbox",
        "%kp sig vfs_read",
        "%kp struct dentry",
        "%kprobe vfs_read --name reads --while 'cat /etc/hostname' --follow",
        "%kp panel",
    )
    outputs = [book.run(number) for number in range(6)]
    signature, tree = outputs[2], outputs[3]
    expect(signature).to_contain_text("ssize_t vfs_read(struct file *file")
    inner = tree.locator("details details").filter(has_text="struct qstr d_name").first
    hidden = inner.get_by_text("const unsigned char *name;")
    expect(hidden).not_to_be_visible()
    inner.locator("summary").first.click()
    expect(hidden).to_be_visible()
    signature.locator("summary", has_text="vfs_read").first.click()
    book.page.set_viewport_size({"width": 1280, "height": 2400})
    for theme in ("light", "dark"):
        readable(*outputs[2:6])
        book.page.screenshot(path=shots / f"trees-{theme}.png")
        if theme == "light":
            book.dark()


def test_a_hundred_probes_in_the_panel(notebook: Any, shots: Path) -> None:
    some = ("import kpmagic\nfor n in range({}, {}):\n"
            "    kpmagic.probe('vfs_read', 'emit(count);', name=f'p{{n:02}}', buffer='64K')")
    starts = [some.format(first, first + MANY // 5) for first in range(0, MANY, MANY // 5)]
    book = notebook("%load_ext kpmagic", *starts, "%kp panel", "%kp run cat /etc/hostname", "1 + 1")
    for number in range(6):
        book.run(number)
    panel = book.run(6)
    lines = panel.locator("tbody tr")
    expect(lines).to_have_count(MANY)
    expect(panel.get_by_role("button", name="Stop")).to_have_count(MANY)
    book.run(7)
    last = lines.nth(MANY - 1)
    expect(last).not_to_contain_text("running 0 0")
    before = time.monotonic()
    book.run(8)
    answered = time.monotonic() - before
    button = panel.get_by_role("button", name="Stop").nth(MANY - 1)
    # a button stands beside its own line, at the bottom as at the top
    for number in (0, MANY - 1):
        line = lines.nth(number).bounding_box()
        beside = panel.get_by_role("button", name="Stop").nth(number).bounding_box()
        assert abs(line["y"] + line["height"] / 2 - beside["y"] - beside["height"] / 2) < 8
    before = time.monotonic()
    button.click()
    expect(last).to_contain_text("stopped (user)")
    stopped = time.monotonic() - before
    print(f"{MANY} probes: 1 + 1 in {answered:.2f} s, the last one stopped in {stopped:.2f} s")
    book.page.screenshot(path=shots / "panel-hundred.png")
    panel.locator("tbody").evaluate("(each) => each.scrollIntoView()")
    book.page.set_viewport_size({"width": 1280, "height": 3600})
    book.page.screenshot(path=shots / "panel-hundred-whole.png")
    assert answered < 5
    assert stopped < 10
