# SPDX-License-Identifier: MIT
"""Names of processes, files and functions can hold anything; all that is shown of them is text.

What stands around them keeps its place: nothing in a name changes the order of its neighbours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from runs import finished, running
from seen import Seen, rows, seen

from kpmagic.channel.refusals import to_error
from kpmagic.kernel.btf_tree import Node
from kpmagic.kp.commands import run_line
from kpmagic.session import session
from kpmagic.targets.ends import why
from kpmagic.view.card import CARD
from kpmagic.view.clean import clean, clean_text
from kpmagic.view.flame import flame
from kpmagic.view.panel import ProbePanel
from kpmagic.view.panel_all import Actions, FullPanel, signatures
from kpmagic.view.plots import KINDS, plot
from kpmagic.view.plots_data import Wanted
from kpmagic.view.table import of_frame, width
from kpmagic.view.tree import Tree

HEBREW, ARABIC = "\u05d0\u05d1\u05d2", "\u0639\u0631\u0628"
NAMES = {
    "markup": "<img src=x onerror=alert(1)>",
    "script": "</pre><script>alert(1)</script>",
    "terminal": "\x1b[31mred\x1b]0;title\x07",
    "override": "\u202egpj.exe",
    "isolate": "a\u2066b\u2067c",
    "mark": "a\u200fb\u061c",
    "hebrew": HEBREW,
    "arabic": f"{ARABIC}\u0661",
}
BARRED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200d\u200f\u2028-\u202e\u2060-\u206f]"
)
FROM_RIGHT = re.compile("[\u05d0-\u05ea\u0620-\u064a\u0660-\u0669]")
BETWEEN = re.compile("\u200e([\u05d0-\u05ea\u0620-\u064a\u0660-\u0669]+)\u200e")


class Page(HTMLParser):
    """The tags of some HTML, and the text a reader sees."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def harmless(text: str) -> None:
    """Nothing in ``text`` acts on a terminal, or on the order of what stands beside it."""
    assert not BARRED.search(text)
    assert not FROM_RIGHT.search(BETWEEN.sub("", text))


def harmless_page(markup: str) -> None:
    page = Page(markup)
    assert page.tags <= {"div", "style", "table", "caption", "thead", "tbody", "tr", "th", "td",
                         "pre", "details", "summary", "i", "b"}  # fmt: skip
    harmless("".join(page.texts))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return NAMES[request.param]


def test_on_a_card(name: str) -> None:
    run = finished(comm=name.encode()[:15], note=f"{name} is {name}")
    run.name = name
    harmless(CARD.text(run))
    harmless_page(CARD.html(run))
    assert clean(name) in CARD.text(run)


def test_in_an_error(name: str) -> None:
    """A target may say anything of itself, and so may a recording."""
    error = to_error({"kind": "os", "message": f"one {name}\n\ttwo"})
    for shown in (str(error), *error._render_traceback_()):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
        assert shown.endswith("\n\ttwo")
    said = why(f"Permission denied ({name})", what="far", user="u")
    assert not re.search("[\x1b\x07]", str(said))


def test_in_a_table(name: str) -> None:
    stacks = np.empty(1, object)
    stacks[:] = [[name, "main"]]
    table = of_frame(pd.DataFrame({name: [name], "n": [23], "ustack": stacks}), 1, caption=name)
    harmless(table.text())
    harmless_page(table.html())
    assert len({width(line.rstrip()) - width(line.rstrip().rpartition("  ")[2])
                for line in table.text().splitlines()[1:]}) == 1  # columns below each other


def test_in_panels(name: str) -> None:
    run = running()
    run.name = name
    panel = FullPanel(Actions(probe=print, fresh_target=print, remove=print, runs=lambda: [run],
                              target=lambda: name, facts=lambda: None))  # fmt: skip
    panel.widget()
    panel.message = f"SymbolError: no function {name}"
    panel.beat()
    harmless(panel.text())
    for shown in (panel._table, panel._message, panel._target):
        harmless_page(shown.value)
    alone = ProbePanel(lambda: [run])
    harmless(alone.text())


def test_in_what_is_listed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = running("shown")
    run.stop(name)
    run._life.remarks.append(f"{name}\n\tmore")
    session.add(run)
    try:
        run_line("list")
        run_line("show shown --stage log")
    finally:
        session.remove(run)
    printed = capsys.readouterr().out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed)
    assert printed.endswith("\n\tmore\n")
    harmless(ProbePanel(lambda: [run]).text())


def test_in_the_panels_search(name: str) -> None:
    class Types:
        function = staticmethod(lambda _: 1)
        prototype = staticmethod(lambda _: f"int {name}(void)")

    class Facts:
        btf = Types
        functions = staticmethod(lambda: [name])

    (found,) = signatures(name[:1], Facts())  # type: ignore[arg-type]
    harmless(found[0])
    assert found[1] == name  # what is probed is the function itself


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inside for text in strings(each)]


def of_rows(kind: str) -> Callable[[str], Any]:
    def draw(name: str) -> Any:
        run = seen(20, n=np.arange(20), comm=name)
        run.name = name
        return plot(run, kind, Wanted(by="comm"))

    return draw


def of_keys(name: str) -> Any:
    table = pd.DataFrame({"comm": [name], "cpu": [1], "count": [23]})
    return plot(Seen(rows(0), {f"count(by = {name})": table}), "bars", Wanted())


def of_stacks(name: str) -> Any:
    table = pd.DataFrame({"ustack": [f"main;{name}"], "count": [1]})
    return flame(Seen(rows(0), {name: table}))


@pytest.mark.parametrize("draw", [*map(of_rows, KINDS), of_keys, of_stacks],
                         ids=[*KINDS, "keys", "flame"])  # fmt: skip
def test_on_a_plot(draw: Callable[[str], Any], name: str) -> None:
    shown = strings(json.loads(draw(name).to_json())["data"])
    shown += strings(json.loads(draw(name).to_json())["layout"])
    for text in shown:
        harmless(text)
        assert not re.search(r"<(?!br>|/?sup>|/?span)", text.replace("<extra></extra>", ""))


def test_in_a_tree(name: str) -> None:
    inner = Node(f"int {name};", f"{name} 0 4")
    tree = Tree([Node(f"struct {name}", "", (inner,), f"struct {name} {{", "};", True)], [name])
    harmless(tree.text())
    harmless_page(tree._repr_html_())


def test_words_from_right_to_left_stay_together_and_between_marks() -> None:
    assert clean(f"{HEBREW} {HEBREW}  12") == f"\u200e{HEBREW} {HEBREW}\u200e  12"
    assert clean(f"{HEBREW}12/{ARABIC}.c") == f"\u200e{HEBREW}\u200e12/\u200e{ARABIC}\u200e.c"
    assert clean(clean(f"x{HEBREW}  1  {ARABIC}")) == clean(f"x{HEBREW}  1  {ARABIC}")
    assert clean_text(f"{HEBREW}\n1") == f"\u200e{HEBREW}\u200e\n1"
    assert width(clean(HEBREW)) == 3
