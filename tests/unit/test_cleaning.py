# SPDX-License-Identifier: MIT
"""What %kp clean says and does."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from kpmagic import cache
from kpmagic.kp.cleaning import clean_cache
from kpmagic.overhead import workload
from kpmagic.targets import archive, runtime


def test_what_is_removed_is_shown_and_kernels_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    for name, size in (("facts/a", 5000), ("facts/b", 5000), ("headers/x/objects/o", 2048),
                       ("headers/x/vmlinux.pch", 10), ("kernels/6.1/vmlinuz", 10),
                       ("kbuild/a", 10), ("agent/a.zip", 10), ("workloads/a", 10),
                       ("kbuild/.a-new", 10), ("agent/.a-new", 10)):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    taken = cache.size(tmp_path / "facts") >> 10
    first, second, *others, last = clean_cache()
    assert first == f"removed kernel facts: 2, {taken} KB"
    assert second.startswith("removed compiled probes and modules: 1, ")
    assert f"KB in {tmp_path}; kernels and their types stay" in last
    assert [each.partition(":")[0] for each in others] == [
        "removed what Kbuild has found out", "removed agents as bytecode",
        "removed compiled workloads",
    ]  # fmt: skip
    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == [
        ".a-new", ".a-new", "vmlinux.pch", "vmlinuz",
    ]  # fmt: skip
    assert list(clean_cache()) == [f"freed 0 KB in {tmp_path}; kernels and their types stay"]


def test_what_a_folder_takes_is_told_without_holes(tmp_path: Path) -> None:
    """The memory of a saved machine is mostly holes."""
    (tmp_path / "machine").mkdir()
    with (tmp_path / "machine/memory").open("wb") as file:
        file.truncate(1 << 30)
        file.write(bytes(5000))
    taken = cache.size(tmp_path)
    assert 5000 <= taken < 1 << 20
    (tmp_path / "link").symlink_to(tmp_path / "machine")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert cache.size(tmp_path) - taken < 5000
    assert cache.size(tmp_path / "machine/memory") == taken
    assert cache.size(tmp_path / "nowhere") == 0


def test_what_another_notebook_removes_at_once_was_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    for place in (archive, runtime, workload):
        monkeypatch.setattr(place, "write_private", lambda *_: None)
    agent = archive.agent_archive()
    assert len(archive.compiled(agent, Path(sys.executable))) > 10_000
    assert list(runtime.files(Path(sys.executable), agent))
    assert workload.built().startswith(b"\x7fELF")


def test_two_notebooks_may_clean_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    for name in ("facts/a", "facts/b", "modules/x/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(5000))
    glob = Path.glob

    def removed_meanwhile(home: Path, pattern: str) -> list[Path]:
        found = list(glob(home, pattern))
        for each in found[:1]:
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        return found

    taken = cache.size(tmp_path / "facts/b") >> 10
    monkeypatch.setattr(Path, "glob", removed_meanwhile)
    assert f"freed {taken} KB" in list(clean_cache())[-1]
    assert not [each for each in tmp_path.rglob("*") if each.is_file()]
