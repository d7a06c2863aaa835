# SPDX-License-Identifier: MIT
"""Names made of HTML, JavaScript, terminal codes or right-to-left text, as a browser shows them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

HEBREW = "\u05d0\u05d1\u05d2"
NAMES = ["<img src=x>", "<script>x</script>"[:15], "\x1b[31mred\x1b[0m", "\u202egpj.exe",
         "a\u2066b\u2067c", HEBREW, f"{HEBREW} 12"]  # fmt: skip
# where the first character of each line is that is not written from right to left, and the next …
IN_ORDER = """(output) => {
    const right = /[\\u0590-\\u08ff]/;
    const walker = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    const wrong = [];
    let seen = 0;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (node.parentElement.closest('style, script')) continue;
        let last = null;
        for (let at = 0; at < node.length; at++) {
            if (right.test(node.data[at])) { seen++; continue; }
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + 1);
            const box = range.getBoundingClientRect();
            if (!box.width) continue;
            if (last && Math.abs(box.top - last.top) < 3 && box.left < last.left)
                wrong.push(node.data);
            last = box;
        }
    }
    return [seen, wrong];
}"""


def in_order(output: Locator) -> None:
    """What stands beside words from right to left is where it is without them."""
    seen, wrong = output.evaluate(IN_ORDER)
    assert seen > 0
    assert wrong == []


def test_other_peoples_names(notebook: Any, shots: Path) -> None:
    copies = [f"p=/tmp/$(echo {base64.b64encode(name.encode()).decode()} | base64 -d | tr / _); "
              'cp /bin/cat "$p"; echo x >"$p."; "$p" "$p." >/dev/null'
              for name in NAMES]  # fmt: skip
    book = notebook(
        "%load_ext kpmagic",
        f"%%kprobe vfs_read --name 'reads' --while '{'; '.join(copies)}' --follow "
        "--where 'count == 131072' -o run\n"
        "emit(count, file = str(file->f_path.dentry->d_name.name), pid);",
        f"run.name = '{HEBREW} 12'\nrun",
        "print(run)",
        "run.plot('bars', by='comm')",
        "run.panel()",
        "run.plot('bars', by='file')",
    )
    alerts: list[str] = []
    book.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    for number in range(7):
        output = book.run(number)
        if number > 1:
            expect(output).to_contain_text(HEBREW)
            output.scroll_into_view_if_needed()
            output.screenshot(path=shots / f"names-{number}.png")
            in_order(output)
    expect(book.output(2)).to_contain_text("<img src=x>")
    expect(book.output(2)).to_contain_text("gpj.exe")
    assert book.page.locator("img[src=x]").count() == 0
    assert alerts == []
