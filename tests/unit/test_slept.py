# SPDX-License-Identifier: MIT
"""A handler that has slept: told once, and the machine ended only where it may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpmagic.agent import slept
from kpmagic.agent.slept import Slept

LINE = "3,500,12345,-;BUG: scheduling while atomic: python3/114/0x00000002"


@pytest.fixture
def trigger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(slept, "TRIGGER", str(tmp_path / "trigger"))
    monkeypatch.setattr(slept, "STACK_SECONDS", -1.0)
    return tmp_path / "trigger"


@pytest.mark.parametrize("expendable", [True, False])
def test_it_is_remarked_once(expendable: bool) -> None:
    watch = Slept(expendable)
    assert watch.look(["6,1,1,-;Planted kprobe"]) == ""
    said = watch.look(["6,1,1,-;one", LINE])
    assert said.startswith(slept.REMARK)
    assert ("boot anew" in said) != expendable
    assert watch.look([LINE]) == ""


@pytest.mark.parametrize("expendable", [True, False])
def test_only_a_machine_that_may_be_ended_is(trigger: Path, expendable: bool) -> None:
    watch = Slept(expendable)
    watch.act()
    assert not trigger.exists()
    watch.look([LINE])
    watch.act()
    assert trigger.exists() == expendable


def test_the_stack_is_waited_for(trigger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slept, "STACK_SECONDS", 60.0)
    watch = Slept(expendable=True)
    watch.look([LINE])
    watch.act()
    assert not trigger.exists()
