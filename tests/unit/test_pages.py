# SPDX-License-Identifier: MIT
"""Pages that name tests: each is there, and nothing that must be on them is missing."""

from __future__ import annotations

import re
from pathlib import Path

import case

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
CASES = {
    each.title: each
    for path in sorted((ROOT / "tests/kernel").glob("*.case"))
    for each in case.read(path)
}


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a page's table by their first cell."""
    cells = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (DOCS / page).read_text().splitlines()
        if re.match(r"\| [A-Z]+-?\d\d \|", line)
    ]
    assert len({each[0] for each in cells}) == len(cells)
    return {each[0]: each[1:] for each in cells}


def upstream() -> dict[str, str]:
    """Return the upstream cases: an id and the file it is from."""
    lines = (ROOT / "tests/kernel/upstream.txt").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines if not line.startswith("#"))


def test_every_upstream_case_is_one_of_ours_or_has_its_reason() -> None:
    listed = rows("upstream-cases.md")
    assert list(listed) == list(upstream())
    for name, (_, here, instead) in listed.items():
        titles = re.findall(r"`([^`]+: [^`]+)`", here)
        assert bool(titles) != bool(instead), f"{name} has a case, or a reason and what to do"
        for title in titles:
            assert name in dict(CASES[title].origins), (name, title)


def test_every_case_that_restates_another_is_listed_and_names_its_file() -> None:
    listed, known = rows("upstream-cases.md"), upstream()
    for title, each in CASES.items():
        for name, source in each.origins:
            assert f"`{title}`" in listed[name][1], (name, title)
            ours, theirs = (set(re.findall(r"\w{6,}", text)) for text in (source, known[name]))
            assert ours & theirs, name


def exists(name: str) -> bool:
    """Whether a test that a page names is there: a file, a function in it, or a case."""
    file, _, inside = name.replace(".case: ", ".case::").partition("::")
    path = ROOT / file
    if not path.exists():
        return False
    if path.suffix == ".case":
        return f"{path.stem}: {inside}" in CASES
    return not inside or f"def {inside}(" in path.read_text()


def test_every_trap_is_held_off_by_a_test_that_exists_or_a_sentence() -> None:
    listed = rows("traps.md")
    counts = {"T": 40, "M": 32}
    assert list(listed) == [f"{k}{n:02}" for k, last in counts.items() for n in range(1, last + 1)]
    for name, (trap, by) in listed.items():
        assert trap, name
        tests = re.findall(r"`(tests/[^`]+)`", by)
        assert tests or by.endswith("."), f"{name} has a test or a sentence"
        assert [each for each in tests if not exists(each)] == [], name
