# SPDX-License-Identifier: MIT
"""No module is built as root where the kernel does not keep gcc from root's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpmagic.compiler import confine, kbuild
from kpmagic.compiler.kbuild_worker import UNCONFINED
from kpmagic.errors import NotPermitted


def test_kbuild_that_nothing_confines_does_not_run_as_root(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted) as caught:
        kbuild._built(tmp_path, "m", UNCONFINED, "")
    assert str(caught.value) == str(confine.unsafe())


@pytest.mark.parametrize(
    ("confined", "user", "runs"),
    [(True, 0, True), (True, 1000, True), (False, 1000, True), (False, 0, False)],
)
def test_who_may_build(
    confined: bool, user: int, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine.os, "geteuid", lambda: user)
    assert confine.safe(confined) is runs


def test_a_kernel_has_a_version_of_landlock_or_none() -> None:
    assert confine.landlock() >= 0
