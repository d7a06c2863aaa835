# SPDX-License-Identifier: MIT
"""Which commands stand still while code is changed, and when they go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kpmagic.agent import stillness
from kpmagic.agent.cgroup import Group
from kpmagic.agent.refusal import Refused
from kpmagic.agent.stillness import Change

# PTRACE_SEIZE, which stops nobody; until its input ends
TRACER = """
import ctypes, os, sys
seized = ctypes.CDLL(None).ptrace(0x4206, os.getppid(), None, None) == 0
print("traces" if seized else "may not", flush=True)
sys.stdin.read()
"""
GROUPS = ("1", "2", "3", "4.bcc")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """What cgroup.freeze of this agent's groups holds, on CPUs that miss changes."""
    monkeypatch.setattr(stillness, "misses_changes", lambda: True)
    monkeypatch.setattr(stillness, "prefix", lambda: str(tmp_path / "kpmagic.7.8"))
    files = {}
    for name in GROUPS:
        folder = tmp_path / f"kpmagic.7.8.{name}"
        folder.mkdir()
        (folder / "cgroup.events").write_text("populated 1\nfrozen 1\n")
        files[name] = folder / "cgroup.freeze"
        files[name].write_text("0\n")
    yield files
    assert not stillness._going_on
    assert not stillness._frozen


def frozen(groups: dict[str, Path]) -> list[str]:
    return [name for name, file in groups.items() if file.read_text() == "1\n"]


def test_commands_stand_still_and_tools_do_not(groups: dict[str, Path]) -> None:
    held: Any = SimpleNamespace(cgroup=Group(str(groups["2"].parent)))
    with Change(held):
        assert frozen(groups) == ["1", "3"]
    assert frozen(groups) == []


def test_the_last_change_lets_them_go_on(groups: dict[str, Path]) -> None:
    first, second = Change(), Change()
    first.over()
    first.over()
    assert frozen(groups) == ["1", "2", "3"]
    second.over()
    assert frozen(groups) == []


def test_who_traces_the_agent_goes_on(groups: dict[str, Path]) -> None:
    command = [sys.executable, "-c", TRACER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        if it.stdout.readline() != "traces\n":
            pytest.skip("this kernel lets nobody trace a parent (kernel.yama.ptrace_scope)")
        with Change():
            assert frozen(groups) == []
        it.communicate()
    with Change():
        assert frozen(groups) == ["1", "2", "3"]


def test_a_group_that_is_gone_needs_nothing(groups: dict[str, Path]) -> None:
    change = Change()
    groups["1"].unlink()
    groups["1"].with_name("cgroup.events").unlink()
    groups["1"].parent.rmdir()
    change.over()


def test_without_cgroups_nothing_stands_still(
    groups: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prefix() -> str:
        raise Refused("os", "cgroup v2 is not mounted")

    monkeypatch.setattr(stillness, "prefix", prefix)
    with Change():
        assert frozen(groups) == []


def test_other_cpus_are_given_back(groups: dict[str, Path]) -> None:
    before = os.sched_getaffinity(0), os.sched_getscheduler(0), threading.active_count()
    with pytest.raises(KeyError), stillness.keeping_others():
        raise KeyError
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0), threading.active_count()) == before


@pytest.mark.parametrize(
    ("text", "misses"),
    [
        ("processor\t: 0\nmodel name\t: QEMU TCG CPU version 2.5+\n" * 2, True),
        ("processor\t: 0\nmodel name\t: QEMU TCG CPU version 2.5+\n", False),
        ("processor\t: 0\nmodel name\t: AMD EPYC\n" * 2, False),
    ],
)
def test_which_cpus_miss_changes(
    text: str, misses: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(stillness, "CPUINFO", str(tmp_path / "cpuinfo"))
    assert stillness.misses_changes.__wrapped__() is misses
