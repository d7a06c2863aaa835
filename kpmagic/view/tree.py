# SPDX-License-Identifier: MIT
"""Types as trees: lines of C in text, lines that can be opened in a notebook (no script)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..kernel.btf_tree import Node
from .clean import clean_text, escape

MOST = 1000  # lines of what is closed at first

STYLE = """<style>
.kp-tree { font-family: var(--jp-code-font-family, monospace); font-size: 0.9em; line-height: 1.4; }
.kp-tree details > div, .kp-tree details > details { margin-left: 1.6em; }
.kp-tree summary { cursor: pointer; }
.kp-tree .kp-leaf { padding-left: 1.05em; }
.kp-tree i { opacity: 0.6; white-space: pre; margin-left: 2em; font-style: normal; }
</style>"""


class Tree:
    """Nodes to be shown one below the other, as text and as HTML; ``notes`` stand above them."""

    def __init__(self, nodes: Sequence[Node], notes: Sequence[str] = ()) -> None:
        self.nodes = tuple(nodes)
        self.notes = tuple(notes)

    def text(self) -> str:
        """Return it as lines of text, closed nodes as one line."""
        lines = [line for node in self.nodes for line in node.lines()]
        return clean_text("\n".join([*self.notes, *lines]))

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f"<div class='kp-tree'>{STYLE}{notes}{''.join(map(html, self.nodes))}</div>"


def html(node: Node) -> str:
    """Return a node as HTML: what has something inside opens and closes."""
    comment = f"<i>/* {escape(node.comment)} */</i>" if node.comment else ""
    line = escape(node.text) + comment
    if not node.inside:
        return f"<div class='kp-leaf'>{line}</div>"
    inside = "".join(map(html, node.inside))
    return f"<details{' open' * node.open}><summary>{line}</summary>{inside}</details>"


def tell(tree: Tree) -> None:
    """Show a tree where there is a notebook to show it in, else print it."""
    if type(sys.stdout).__module__.startswith("ipykernel"):
        from IPython import display as ipython

        ipython.display(tree)  # type: ignore[no-untyped-call]
    else:
        print(tree.text())
