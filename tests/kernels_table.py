# SPDX-License-Identifier: MIT
"""Outcomes of the kernel tests → the page that says what works on which kernel.

``python tests/kernels_table.py build/kernels/*.xml`` writes docs/kernels.md. The files are those
that pytest's ``--junitxml`` makes, named ``6.1.xml``, or ``6.1-again.xml`` for tests that were run
once more: of two outcomes of a test the later file's counts.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs/kernels.md"
HEAD = """\
<!-- SPDX-License-Identifier: MIT -->
# What works on which kernel

Made by `make kernels-table` from outcomes of kernel tests; not written by hand.
The kernels are Debian's, in the sandbox. A number is how many tests passed.
"""
LACKS = re.compile(r"\S+ has not: (.+) \(\S+\.case:\d+\)")


@dataclass
class Outcomes:
    """What came of the tests of some kernels.

    ``counts``: subject → kernel → how often ``passed``, ``skipped``, ``failed``.
    ``lacks``: feature → the kernels that have it not. ``others``: other reasons to skip.
    """

    kernels: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    lacks: dict[str, set[str]] = field(default_factory=dict)
    others: dict[str, set[str]] = field(default_factory=dict)


def gather(files: list[Path]) -> Outcomes:
    """Return what the files say; each is named after its kernel."""
    tests: dict[str, dict[tuple[str, str], ElementTree.Element]] = {}
    for path in sorted(files, key=lambda path: path.stem):
        of_kernel = tests.setdefault(path.stem.partition("-")[0], {})
        for test in ElementTree.parse(path).getroot().iter("testcase"):
            of_kernel[str(test.get("classname")), str(test.get("name"))] = test
    found = Outcomes(sorted(tests, key=lambda kernel: [int(n) for n in kernel.split(".")]))
    for kernel in found.kernels:
        for names, test in tests[kernel].items():
            outcome = _outcome(found, kernel, test)
            counts = found.counts.setdefault(_subject(*names), {})
            counts.setdefault(kernel, Counter())[outcome] += 1
    return found


def _outcome(found: Outcomes, kernel: str, test: ElementTree.Element) -> str:
    """Return passed, failed or skipped; note why it was skipped."""
    outcome = "passed"
    for child in test:
        if child.tag in ("failure", "error"):
            return "failed"
        if child.tag == "skipped":
            outcome = "skipped"
            reason = str(child.get("message", ""))
            lack = LACKS.fullmatch(reason)
            kept = found.lacks if lack else found.others
            kept.setdefault(lack[1] if lack else reason, set()).add(kernel)
    return outcome


def _subject(module: str, name: str) -> str:
    """Return the sentence at the head of the file that a test is from."""
    case = re.search(r"\[[\d.]+-([a-z_-]+): ", name)
    if module.endswith("test_cases") and case:
        lines = (TESTS / "kernel" / f"{case[1]}.case").read_text().splitlines()
        return lines[1].removeprefix("# ")
    path = TESTS.parent / (module.replace(".", "/") + ".py")
    return (ast.get_docstring(ast.parse(path.read_text())) or module).splitlines()[0]


def page(found: Outcomes) -> str:
    """Return the page that shows the outcomes."""
    lines = [HEAD, *_table("what", found.kernels)]
    for subject, counts in found.counts.items():
        cells = [_cell(counts.get(kernel, Counter())) for kernel in found.kernels]
        lines.append(_row(subject, cells))
    lines += ["", "## What a kernel has not", "", *_table("feature", found.kernels)]
    for feature, kernels in sorted(found.lacks.items()):
        lines.append(_row(feature, ["no" if k in kernels else "yes" for k in found.kernels]))
    lines += ["", "## Skipped for another reason", "", *_table("reason", found.kernels)]
    for reason, kernels in sorted(found.others.items()):
        lines.append(_row(reason, ["skipped" if k in kernels else "" for k in found.kernels]))
    return "\n".join(lines) + "\n"


def _table(what: str, kernels: list[str]) -> list[str]:
    return [_row(what, kernels), "|---" * (len(kernels) + 1) + "|"]


def _row(first: str, cells: list[str]) -> str:
    return f"| {' | '.join([first.replace('|', '/'), *cells])} |"


def _cell(count: Counter[str]) -> str:
    said = [f"{count[word]} {word}" for word in ("failed", "skipped") if count[word]]
    return ", ".join([str(count["passed"]), *said])


def read(text: str) -> Outcomes:
    """Return the outcomes that a page shows. Raises ValueError for what is no such page."""
    if not text.startswith(HEAD):
        raise ValueError("the page does not begin as it is made")
    tables = [re.findall(r"^\| (.*) \|$", part, re.MULTILINE) for part in text.split("\n## ")]
    subjects, lacks, others = ([re.split(r" \| ?", row) for row in rows] for rows in tables)
    found = Outcomes(subjects[0][1:])
    for subject, *cells in subjects[1:]:
        found.counts[subject] = dict(zip(found.kernels, map(_count, cells), strict=True))
    for kept, rows, word in ((found.lacks, lacks, "no"), (found.others, others, "skipped")):
        for name, *cells in rows[1:]:
            kept[name] = {k for k, c in zip(found.kernels, cells, strict=True) if c == word}
    return found


def _count(cell: str) -> Counter[str]:
    passed, *others = cell.split(", ")
    count = Counter({"passed": int(passed)})
    for each in others:
        number, word = each.split(" ")
        count[word] = int(number)
    return count


if __name__ == "__main__":
    PAGE.write_text(page(gather([Path(name) for name in sys.argv[1:]])))
