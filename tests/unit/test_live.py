# SPDX-License-Identifier: MIT
"""The output of a cell: it follows its run, and follows again when the run is started again."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from runs import running, until

from kpmagic.view.live import Panel

WIDGET = "application/vnd.jupyter.widget-view+json"


class Shown:
    """One output of the cell, and what it has shown."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def update(self, data: dict[str, Any], raw: bool) -> None:
        assert raw
        self.data = data


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """The cell's outputs, in order: the button's, then the card's."""
    found: list[Shown] = []

    def display(data: dict[str, Any], **_: object) -> Shown:
        found.append(Shown(data))
        return found[-1]

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("kpmagic.view.pulse.INTERVAL", 0.05)
    return found


@pytest.mark.parametrize("waiting", [False, True])
def test_a_card_follows_a_run_that_is_started_again(outputs: list[Shown], waiting: bool) -> None:
    run = running()
    panel = Panel(updates=True, buttons=True)
    if waiting:
        run.stop()
        panel.watch(run)
    else:
        panel.follow(run)
        assert WIDGET in outputs[0].data
        run.stop()
    for _ in range(2):
        until(lambda: "stopped (user)" in outputs[1].data["text/plain"])
        until(lambda: WIDGET not in outputs[0].data)
        run.start()
        until(lambda: "running" in outputs[1].data["text/plain"])
        until(lambda: WIDGET in outputs[0].data)
        run.stop()
    assert len(outputs) == 2


def test_a_card_keeps_no_run_that_is_over(outputs: list[Shown]) -> None:
    run = running()
    panel = Panel(updates=True, buttons=True)
    panel.follow(run)
    run.stop()
    until(lambda: "stopped (user)" in outputs[1].data["text/plain"])
    gone = weakref.ref(run)
    run.connection.close()
    del run

    def collected() -> bool:
        gc.collect()
        return gone() is None

    until(collected)
