# SPDX-License-Identifier: MIT
"""What %kp mechanisms makes of its rounds, and the workload that it times."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kpmagic.answers import Answer, Picture
from kpmagic.errors import CellError
from kpmagic.overhead.measure import _check
from kpmagic.overhead.workload import KINDS, built
from kpmagic.planted.cost import LeftAside, Sample
from kpmagic.saved.plain import from_plain, to_plain
from kpmagic.view.mechanisms import Mechanisms

BAD = "<script>\x1b[31m"


def measured(name: str = "vfs_read") -> Mechanisms:
    return Mechanisms(
        name, "sandbox", "6.1.0", 2, "read() of a byte of /dev/zero", 20_000, (900.0, 1000.0),
        (Sample("bpf kprobe", "empty", "vfs_read+0x0", "ftrace", (400.0, 300.0, 500.0), 60_021),
         Sample("module, int3", "empty", "vfs_read+0x5", "int3", (1100.0,), 20_007, 3),
         Sample("tracefs event", "one column", "vfs_read+0x0", "ftrace", (700.0,), 20_000, -1)),
        (LeftAside("bpf fentry", "empty", f"refused {BAD}"),), True,
    )  # fmt: skip


def test_medians_and_quartiles() -> None:
    table = measured().df
    assert list(table["ns"]) == [400.0, 1100.0, 700.0]
    assert list(table.loc[0, ["low", "high", "least", "most"]]) == [350.0, 450.0, 300.0, 500.0]
    assert list(table["n"]) == [3, 1, 1]
    assert table["dropped"].isna().tolist() == [False, False, True]


def test_text_and_html_say_how_it_was_measured() -> None:
    for shown in (repr(measured()), measured()._repr_html_()):
        for words in ("what a hit of vfs_read costs", "sandbox 6.1.0, 2 CPUs", "1 100", "60 021",
                      "20 000 calls on one CPU, one takes 950 ns", "3 rounds", "interrupted",
                      "bpf fentry, empty: not measured: refused"):  # fmt: skip
            assert words in shown
        assert "\x1b" not in shown
    assert "<script>" not in measured()._repr_html_()


def test_a_bar_for_each_way_and_a_colour_for_each_handler() -> None:
    figure = measured(BAD).plot()
    assert [bar.name for bar in figure.data] == ["empty", "one column"]
    assert list(figure.data[0].x) == ["bpf kprobe", "module, int3"]
    assert list(figure.data[0].y) == [400.0, 1100.0]
    assert list(figure.data[0].error_y.array) == [50.0, 0.0]
    assert "<script>" not in figure.to_json()


def test_it_comes_back_from_a_recording() -> None:
    answer = Answer("cell", picture=Picture(mechanisms=measured()))
    back = from_plain(Answer, json.loads(json.dumps(to_plain(answer))))
    assert back.picture is not None
    assert back.picture.mechanisms is not None
    assert repr(Mechanisms(**vars(back.picture.mechanisms))) == repr(measured())


@pytest.mark.parametrize(
    ("calls", "rounds"), [(0, 5), (499, 5), (20_000, 0), (10**8, 5), (True, 5)]
)
def test_numbers_have_bounds(calls: int, rounds: int) -> None:
    with pytest.raises(CellError, match="a whole number from"):
        _check(calls, rounds)


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("workload") / "workload"
    file.write_bytes(built())
    file.chmod(0o700)
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_call_takes_time(workload: Path, kind: str) -> None:
    done = subprocess.run([workload, kind, "500"], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 10**9


def test_a_command_is_timed_as_a_whole(workload: Path) -> None:
    done = subprocess.run([workload, "while", "sleep 0.2; echo $HOME"], capture_output=True,
                          text=True, check=True, env={"HOME": "/here", "PATH": "/bin:/usr/bin"},
                          )  # fmt: skip
    said, ns = done.stdout.split()
    assert said == "/here"
    assert int(ns) > 2 * 10**8


@pytest.mark.parametrize("words", [[], ["read"], ["nothing", "5"], ["read", "1", "2"]])
def test_what_it_does_not_know_it_refuses(workload: Path, words: list[str]) -> None:
    assert subprocess.run([workload, *words], check=False).returncode == 2
