# SPDX-License-Identifier: MIT
"""The panel: its rows, its buttons, and that two of them agree. The browser test presses them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from far_end import a_run
from ipywidgets import VBox, Widget
from runs import running, until

from kpmagic.errors import AttachError
from kpmagic.view.card import CARD
from kpmagic.view.live_plot import LivePlot
from kpmagic.view.panel import ProbePanel
from kpmagic.view.panel_all import Actions, FullPanel
from kpmagic.view.panel_rows import Meter
from kpmagic.view.picture import PLOTLY
from kpmagic.view.pulse import Pulse

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


def buttons(panel: ProbePanel, line: int = 0) -> dict[str, Any]:
    return {each.description: each for each in panel._column.children[line + 1].children}


def test_rows_as_text() -> None:
    run = running()
    text = str(ProbePanel(lambda: [run]))
    assert "vfs_read" in text
    assert "running" in text
    assert "7 dropped" in text
    assert str(ProbePanel(list)) == "no probe yet"


def test_buttons_do_what_they_say_and_two_panels_agree() -> None:
    run = running()
    runs = [run]
    one, two = (ProbePanel(lambda: list(runs), runs.remove) for _ in range(2))
    assert one.widget() is one.widget()
    two.widget()
    assert (buttons(one)["Start"].disabled, buttons(one)["Stop"].disabled) == (True, False)
    buttons(one)["Stop"].click()
    until(lambda: run.state == "stopped")
    for panel in (one, two):
        assert panel.beat()
        assert "stopped (user)" in panel._table.value
        assert (buttons(panel)["Start"].disabled, buttons(panel)["Stop"].disabled) == (False, True)
    buttons(two)["Start"].click()
    until(lambda: run.state == "running")
    buttons(two)["Remove"].click()
    until(lambda: not runs)
    assert one.beat()
    assert "no probe yet" in one._table.value
    assert len(one._column.children) == 1
    one.widget().close()
    assert not one.beat()


def test_what_goes_wrong_stands_in_the_panel() -> None:
    panel = FullPanel(Actions(probe=refused, fresh_target=list, remove=list, runs=list,
                              target=lambda: HOSTILE, facts=lambda: None))  # type: ignore[arg-type] # fmt: skip
    panel.widget()
    panel._search.value = "vfs_raed"
    panel._probe()
    until(lambda: "AttachError" in panel.message)
    panel.beat()
    assert "no &lt;b&gt;" in panel._message.value
    assert "<img" not in panel._target.value
    assert panel.text().startswith("target: ")


def refused(name: str) -> None:
    raise AttachError(f"no <b> {name}")


def test_buttons_of_a_probe_whose_target_has_died() -> None:
    run = running()
    runs = [run]
    panel = ProbePanel(lambda: list(runs), runs.remove)
    panel.widget()
    run.connection.target.hang_up()
    until(lambda: run.state == "stopped")
    panel.beat()
    assert "stopped (target-lost)" in panel._table.value
    assert (buttons(panel)["Start"].disabled, buttons(panel)["Stop"].disabled) == (False, True)
    buttons(panel)["Start"].click()
    until(lambda: "TargetLost: far is gone" in panel.message)
    assert "run the cell again" in panel.message
    assert len(run.df()) == 23  # what it had, it has
    assert (run.stopped_by, run.stats.hits) == ("target-lost", 30)
    buttons(panel)["Remove"].click()
    until(lambda: not runs)
    until(lambda: not panel.message)


def test_an_error_of_ours_stands_in_the_panel_too(capsys: pytest.CaptureFixture[str]) -> None:
    panel = ProbePanel(list)
    panel.widget()
    panel.do(lambda: {}["nothing"])
    until(lambda: panel.message == "KeyError: 'nothing'")
    assert capsys.readouterr() == ("", "")  # some other cell's output


def test_a_hundred_probes_are_one_message_a_beat() -> None:
    runs = [running()]
    for number in range(99):
        run = a_run(runs[0].connection, view=CARD, name=f"p{number}")
        runs.append(run)
    panel = ProbePanel(lambda: runs)
    panel.widget()
    assert len(panel._column.children) == 101
    sent: list[Any] = []
    for widget in (panel._table, panel._message, panel._column):
        widget.observe(lambda change: sent.append(change["name"]))
    runs[0]._life.counters = {"hits": 31, "rows": 23}
    panel.beat()
    assert sent == ["value"]
    panel.beat()
    assert len(sent) <= 2  # the rate may have changed


def test_rates() -> None:
    run = running()
    meter = Meter()
    run.info["started"] = time.time() - 10
    assert meter.rate(run, 1000) == pytest.approx(100, rel=0.1)
    assert meter.rate(run, 2000) == pytest.approx(100, rel=0.1)  # too soon to tell
    run.info["started"] = time.time() - 1
    assert meter.rate(run, 50) == pytest.approx(50, rel=0.1)  # it was started again


def test_a_live_plot_follows_its_run() -> None:
    run = running()
    live = LivePlot(run, "rate")
    live.widget()
    (first,) = live._output.outputs
    assert PLOTLY in first["data"]
    run.stop()
    live.beat()
    assert "stopped" in live._table.value
    assert live._output.outputs[0] is not first


def test_they_are_widgets_that_others_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    run = running()
    both = VBox([run.panel(), run.live()])
    assert all(isinstance(each, Widget) for each in both.children)
    for each in both.children:
        assert "vfs_read" in repr(each)
        bundle = each._repr_mimebundle_()
        assert bundle["text/plain"] == repr(each)
        assert "application/vnd.jupyter.widget-view+json" in bundle
    monkeypatch.setattr("kpmagic.view.panel.nobody_looks", lambda: True)
    assert run.panel()._repr_mimebundle_().keys() == {"text/plain"}


class Beating:
    """Beats ``times`` times, or fails at once."""

    def __init__(self, times: int, failing: bool = False) -> None:
        self.left, self.failing = times, failing

    def beat(self) -> bool:
        self.left -= 1
        if self.failing:
            raise RuntimeError
        return self.left > 0


def test_the_pulse_ends_with_what_it_looks_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpmagic.view.pulse.INTERVAL", 0.01)
    pulse = Pulse()
    bad, good = Beating(9, failing=True), Beating(3)
    pulse.add(bad)
    pulse.add(good)
    until(lambda: not pulse._beating)
    assert (bad.left, good.left) == (8, 0)
    again = Beating(1)
    pulse.add(again)
    until(lambda: again.left == 0)
