# SPDX-License-Identifier: MIT
"""Check every link of a built site that stays within it: the page is there, and so is its anchor.

``python docs/links.py build/docs`` prints what is broken; exit code 1 when something is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """A page's anchors, and where its links and pictures lead."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if (tag, name) in (("a", "href"), ("img", "src"), ("link", "href")) and value:
                self.links.append(value)


@cache
def read(path: Path) -> _Page:
    """Return what is in a page."""
    page = _Page()
    page.feed(path.read_text())
    return page


def broken(site: Path) -> Iterator[str]:
    """Yield each link that leads nowhere, with the page it is on."""
    for path in sorted(site.rglob("*.html")):
        for link in read(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = place / "index.html" if place.is_dir() else place
            if not place.is_file():
                yield f"{path.relative_to(site)}: {link}: no such page"
            elif parts.fragment and unquote(parts.fragment) not in read(place).anchors:
                yield f"{path.relative_to(site)}: {link}: no such place on that page"


def main(site: Path) -> int:
    """Print what is broken."""
    wrong = list(broken(site))
    print("\n".join(wrong) or f"links: all of {sum(1 for _ in site.rglob('*.html'))} pages lead on")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
