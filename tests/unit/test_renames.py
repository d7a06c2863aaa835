# SPDX-License-Identifier: MIT
"""The table of renames: what it must hold, and the notes it makes."""

from __future__ import annotations

import re

import pytest

from kpmagic.kernel.renames import RENAMES, Rename, history, renamed

STEPS = [(first, step) for first, steps in RENAMES.items() for step in steps]


@pytest.mark.parametrize(("first", "step"), STEPS)
def test_every_step_cites_commit_and_release(first: str, step: Rename) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", step.commit)
    assert re.fullmatch(r"[3-9]\.\d{1,2}", step.release)
    assert step.name != first


def test_no_name_is_in_two_places() -> None:
    names = [*RENAMES, *(step.name for _, step in STEPS)]
    assert len(names) == len(set(names))


def test_releases_ascend() -> None:
    for steps in RENAMES.values():
        releases = [tuple(map(int, step.release.split("."))) for step in steps]
        assert releases == sorted(releases)


@pytest.mark.parametrize(
    ("asked", "kernel", "expected"),
    [
        (
            "do_fork",
            {"kernel_clone"},
            (
                "kernel_clone",
                "do_fork → kernel_clone: renamed _do_fork in 4.2, kernel_clone in 5.10",
            ),
        ),
        ("do_fork", {"_do_fork"}, ("_do_fork", "do_fork → _do_fork: renamed _do_fork in 4.2")),
        (
            "_do_fork",
            {"kernel_clone"},
            ("kernel_clone", "_do_fork → kernel_clone: renamed kernel_clone in 5.10"),
        ),
        (
            "kernel_clone",
            {"_do_fork"},
            ("_do_fork", "kernel_clone → _do_fork: renamed kernel_clone in 5.10"),
        ),
        ("do_fork", {"vfs_read"}, None),
        ("vfs_read", {"kernel_clone"}, None),
        ("folio_account_dirtied", set(), None),
    ],
)
def test_renamed(asked: str, kernel: set[str], expected: tuple[str, str] | None) -> None:
    assert renamed(asked, kernel.__contains__) == expected


def test_history() -> None:
    assert history("do_fork") == "renamed _do_fork in 4.2, kernel_clone in 5.10"
    assert history("do_fork", "_do_fork") == "renamed _do_fork in 4.2"
    assert history("kernel_clone") == ""
    assert history("vfs_read") == ""
