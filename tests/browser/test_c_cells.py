# SPDX-License-Identifier: MIT
"""kpmagic-lab: the C of a probe's cell is highlighted as C, a Python cell as Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import expect

MAGICS = ("kprobe", "kretprobe", "kmodule", "bcc")
BODY = "if (count > 7) {\n    struct file *f = file;\n    emit(count, f->f_pos); // done\n}"


def style(cell: Any, word: str) -> str | None:
    """Colour and weight of the piece of text that is exactly ``word``; None when it has no own."""
    return cell.evaluate(
        """(cell, word) => {
            const found = [...cell.querySelectorAll('.cm-line span')].find(
                (span) => span.textContent === word);
            if (!found) return null;
            const {color, fontWeight} = getComputedStyle(found);
            return color + ' ' + fontWeight;
        }""",
        word,
    )


def test_c_of_a_probe_is_highlighted(notebook: Any, shots: Path) -> None:
    ours = [f"%%{magic} vfs_read --while 'cat if struct'\n{BODY}" for magic in MAGICS]
    book = notebook("if count:\n    struct = 1 // 2", f"%%kprober x\n{BODY}", *ours)
    python, other = book.cell(0), book.cell(1)
    expect(python.locator(".cm-line span", has_text="if")).to_be_visible()
    keyword = style(python, "if")
    assert keyword is not None
    for number in range(2, 2 + len(ours)):
        probe = book.cell(number)
        expect(probe.locator(".cm-line span", has_text="// done").last).to_be_visible()
        assert style(probe, "if") == style(probe, "struct") == keyword
        assert style(probe, "// done") not in (None, keyword)
        assert style(probe, "vfs_read") != keyword
    assert style(python, "struct") != keyword
    assert style(other, "struct") != keyword  # not one of ours
    book.page.screenshot(path=shots / "c-cells.png")

    book.type(0, f"{ours[0]}")  # a cell becomes one while it is typed
    expect(python.locator(".cm-line span", has_text="// done").last).to_be_visible()
    assert style(python, "struct") == keyword
    book.type(0, "struct = 1")
    assert style(python, "struct") != keyword
