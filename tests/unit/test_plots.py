# SPDX-License-Identifier: MIT
"""Plots of values: what they show, what they leave out, what they refuse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from far_end import ROW, SIZE, FarEnd, a_run, started
from hypothesis import given
from hypothesis import strategies as st
from records import record
from seen import Seen, rows, seen

from kpmagic.channel.connection import Connection
from kpmagic.errors import CellError
from kpmagic.stats import Stats
from kpmagic.view.card import CARD
from kpmagic.view.live import bundle as card_bundle
from kpmagic.view.picture import PLOTLY, bundle
from kpmagic.view.plots import KINDS, default_kind, plot
from kpmagic.view.plots_data import MOST, Wanted, thinned
from kpmagic.view.plots_hist import filled, log2_bounds, log2_number
from kpmagic.view.plots_rate import spans
from kpmagic.view.plots_units import label, nice_step, number

INT64 = np.iinfo(np.int64)
HOSTILE = "<b>x</b><a href='javascript:1'>$\\TeX$\x1b[31m\u202e"
LOG2 = pd.DataFrame({"comm": ["cat", "cat", "sh"], "low": [0, 1024, 4096],
                     "high": [1, 2048, 8192], "count": [3, 100, 50]})  # fmt: skip
LINEAR = pd.DataFrame({"low": [INT64.min, 0, 30, 100], "high": [0, 10, 40, INT64.max],
                       "count": [3, 100, 50, 7]})  # fmt: skip


def drawn(run: Seen, kind: str | None = None, **wanted: str) -> go.Figure:
    return plot(run, kind, Wanted(**wanted))


def test_rate_counts_every_row_and_says_when_it_began() -> None:
    figure = drawn(seen(5000, step=1_000_000), "rate")
    (trace,) = figure.data
    assert sum(trace.y) * 0.05 == pytest.approx(5000)  # slices of 50 ms
    assert "50 ms" in figure.layout.title.text
    assert figure.layout.xaxis.title.text == "time since 12:13:20.123456 UTC (s)"
    assert figure.layout.yaxis.title.text == "rate (rows/s)"


def test_one_row_has_a_rate() -> None:
    assert len(drawn(seen(1), "rate").data[0].x) == 1


def test_rate_shows_probes_apart_and_where_rows_were_lost() -> None:
    run = seen(100, probe=pd.Categorical(["vfs_read"] * 60 + ["vfs_write"] * 40))
    run.stats, run.losses = Stats(hits=107, rows=100, dropped=7), ((0, 50, 3), (50, 51, 4))
    figure = drawn(run, "rate")
    assert [trace.name for trace in figure.data] == ["vfs_read", "vfs_write"]
    (shape,) = figure.layout.shapes
    assert (shape.x0, shape.x1) == (0, 50)
    assert figure.layout.annotations[0].text == "7 dropped"
    assert "7 dropped" in figure.layout.title.text


def test_spans_with_losses() -> None:
    times = np.arange(0, 1000, 10)
    assert spans(times, [(0, 10, 1), (80, 90, 5)]) == [(0, 90, 1), (790, 890, 5)]
    assert spans(times, [(0, 10, 1), (10, 20, 5)]) == [(0, 190, 6)]
    assert spans(times, [(100, 100, 3)]) == [(990, 990, 3)]


def test_a_log2_histogram_is_as_the_kernel_counted_it() -> None:
    run = Seen(rows(0), {"hist(latency, by = comm)": LOG2})
    figure = drawn(run)
    by_name = {trace.name: trace for trace in figure.data}
    assert set(by_name) == {"cat", "sh"}
    assert list(by_name["cat"].y) == [3, *[0] * 10, 100, 0, 0]
    assert by_name["cat"].hovertext[11] == "[1.02 µs, 2.05 µs)"
    assert figure.layout.xaxis.ticktext[0] == "0 ns"


def test_a_linear_histogram_keeps_its_open_ends() -> None:
    figure = drawn(Seen(rows(0), {"lhist(n, 0, 100, 10)": LINEAR}))
    (trace,) = figure.data
    assert list(trace.x) == [-5, 5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 105]
    assert list(trace.y) == [3, 100, 0, 0, 50, 0, 0, 0, 0, 0, 0, 7]
    assert trace.hovertext[0] == "[…, 0)"
    assert trace.hovertext[-1] == "[100, …)"
    assert figure.layout.xaxis.title.text == "n"


@given(st.sets(st.integers(-62, 62), min_size=1))
def test_log2_gaps_are_filled_with_the_kernels_own_buckets(numbers: set[int]) -> None:
    bounds = [log2_bounds(each) for each in numbers]
    low, high = filled(np.array([max(a, INT64.min) for a, _ in bounds]),
                       np.array([min(b, INT64.max) for _, b in bounds]))  # fmt: skip
    assert len(low) == max(numbers) - min(numbers) + 1
    assert (low[1:] == high[:-1]).all()


@given(st.integers(-(1 << 62), 1 << 62))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    low, high = log2_bounds(log2_number(value, value + 1))
    assert low <= value < high


def test_a_histogram_of_a_column() -> None:
    figure = drawn(seen(1000, n=np.arange(1000) % 7), "hist", column="n")
    (trace,) = figure.data
    assert sum(trace.y) == 1000
    assert list(trace.y[:7]) == [143] * 6 + [142]
    wide = np.concatenate([np.full(990, 3), np.full(10, 5000)])
    figure = drawn(seen(1000, n=wide), "hist", x="n")
    assert list(figure.data[0].y) == [990, *[0] * 10, 10]  # powers of two


def test_kinds_that_suit() -> None:
    assert default_kind(seen(5, n=np.arange(5))) == "rate"
    assert default_kind(seen(5, latency=np.arange(5))) == "heatmap"
    assert default_kind(Seen(rows(0), {"hist(n)": LOG2})) == "hist"
    counts = pd.DataFrame({"comm": ["a"], "count": [1]})
    assert default_kind(Seen(rows(0), {"count(by = comm)": counts})) == "bars"
    stacks = pd.DataFrame({"by": ["main;read"], "count": [1]})
    assert default_kind(Seen(rows(0), {"count(by = ustack())": stacks})) == "flame"
    assert drawn(Seen(rows(0), {"count(by = ustack())": stacks})).data[0].type == "icicle"


def test_a_peak_survives() -> None:
    values = np.ones(1_000_000)
    values[777_777] = 1e9
    figure = drawn(seen(len(values), latency=values), "scatter")
    (trace,) = figure.data
    assert len(trace.x) <= MOST
    assert max(trace.y) == 1e9  # ns: most values are 1 ns
    assert figure.layout.yaxis.title.text == "latency (ns)"
    assert figure.layout.yaxis.type == "log"
    assert "1 000 000 points" in figure.layout.title.text
    heat = drawn(seen(len(values), latency=values), "heatmap").data[0]
    assert np.nansum(heat.z) == len(values)
    assert np.asarray(heat.z).size <= MOST
    assert np.nansum(heat.z[-1]) == 1


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300))
def test_thinning_keeps_least_and_greatest(values: list[float]) -> None:
    y = np.array(values)
    kept = thinned(np.arange(len(y)), y, most=20)
    assert len(kept) <= 20
    assert y[kept].max() == y.max()
    assert y[kept].min() == y.min()
    assert len(set(kept.tolist())) == len(kept)


def test_scatter_of_two_columns_that_some_rows_lack() -> None:
    some = pd.array([1, None, 3], "Int64")
    figure = drawn(seen(3, a=some, b=np.array([4, 5, 6])), "scatter", x="a", y="b")
    assert list(figure.data[0].x) == [1, 3]
    assert list(figure.data[0].y) == [4, 6]
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("a", "b")


def test_bars_of_rows_and_of_aggregates() -> None:
    names = pd.Categorical(["b", "a", "b", "c"])
    figure = drawn(seen(4, name=names, n=np.array([1, 2, 3, 9])), "bars")
    (trace,) = figure.data
    assert (list(figure.layout.yaxis.ticktext), list(trace.x)) == (["b", "a", "c"], [2, 1, 1])
    figure = drawn(seen(4, name=names, n=np.array([1, 2, 3, 9])), "bars", by="name", column="n")
    assert (list(figure.layout.yaxis.ticktext), list(figure.data[0].x)) == (["c", "b", "a"],
                                                                            [9, 4, 2])  # fmt: skip
    table = pd.DataFrame({"comm": ["a", "b"], "cpu": [0, 1], "value": [2e6, 5e6]})
    figure = drawn(Seen(rows(0), {"avg(latency, by = comm)": table}))
    assert list(figure.layout.yaxis.ticktext) == ["b, 1", "a, 0"]
    assert list(figure.data[0].x) == [5, 2]
    assert figure.layout.xaxis.title.text == "avg(latency, by = comm) (ms)"


def test_many_bars_say_so() -> None:
    table = pd.DataFrame({"pid": np.arange(4000), "count": np.arange(4000)})
    figure = drawn(Seen(rows(0), {"count(by = pid)": table}))
    assert len(figure.data[0].x) == 30
    assert "the largest 30 of 4 000" in figure.layout.title.text


@pytest.mark.parametrize("kind", KINDS)
def test_other_peoples_text_is_text(kind: str) -> None:
    run = seen(20, n=np.arange(20), comm=HOSTILE)
    run.name = HOSTILE
    figure = drawn(run, kind, by="comm")
    shown: list[str] = []

    def strings(value: Any) -> None:
        if isinstance(value, dict):
            for each in value.values():
                strings(each)
        elif isinstance(value, list):
            for each in value:
                strings(each)
        elif isinstance(value, str):
            shown.append(value)

    strings(json.loads(figure.to_json()))
    text = "".join(shown)
    assert "&lt;b&gt;x" in text
    assert not any(part in text for part in ("<b>", "<a ", "$", "\x1b", "\u202e"))


@pytest.mark.parametrize(
    ("kind", "wanted", "text"),
    [
        ("rat", {}, "did you mean rate?"),
        ("hist", {"column": "m"}, "no column 'm'"),
        ("hist", {"column": "nme"}, "did you mean name?"),
        ("hist", {"column": "name"}, "'name' is not a number"),
        ("hist", {"column": "name"}, "plot('bars', by='name')"),
        ("scatter", {"x": "n"}, "no other emitted column is a number"),
        ("heatmap", {"y": "name"}, "'name' is not a number"),
        ("bars", {"by": "nobody"}, "no column 'nobody'"),
        ("rate", {"by": "nobody"}, "no column 'nobody'"),
    ],
)
def test_refusals(kind: str, wanted: dict[str, str], text: str) -> None:
    with pytest.raises(CellError) as caught:
        drawn(seen(3, n=np.arange(3), name=pd.Categorical(["a", "b", "c"])), kind, **wanted)
    assert text in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_say_so(kind: str) -> None:
    with pytest.raises(CellError, match="vfs_read has no rows to plot"):
        drawn(seen(0), kind)


def test_a_column_without_a_value() -> None:
    empty = pd.array([None] * 3, "Int64")
    for kind in ("hist", "heatmap", "scatter"):
        with pytest.raises(CellError, match="value"):
            drawn(seen(3, n=empty), kind)


def test_an_empty_aggregate_and_one_that_is_not_there() -> None:
    run = Seen(rows(0), {"hist(n)": LOG2[:0], "hist(m)": LOG2})
    with pytest.raises(CellError, match="is empty"):
        drawn(run)
    with pytest.raises(CellError, match=r"there are hist\(n\), hist\(m\)"):
        drawn(run, "hist", label="hist(k)")


def test_one_name_is_asked_for() -> None:
    connection = Connection(FarEnd({"start": started}))
    connection.wait_for_hello()
    run = a_run(connection, view=CARD)
    column = pd.Series([1, 2])
    for wrong in (["cpu", "comm"], column, 7):
        for refused, named, argument in [
            (run.plot, {"kind": wrong}, "plot: kind"),
            (run.plot, {"kind": "bars", "by": wrong}, "plot: by"),
            (run.plot, {"kind": "hist", "column": wrong}, "plot: column"),
            (run.flame, {"column": wrong}, "flame: column"),
            (run.live, {"kind": wrong}, "live: kind"),
            (run.export, {"format": wrong, "path": "x"}, "export: format"),
        ]:
            with pytest.raises(CellError, match=f"{argument} takes a name, not a"):
                refused(**named)


def test_numbers_are_readable() -> None:
    assert [number(value, "latency") for value in (0, 999, 1024, 5e6, 2.5e9, 36e11)] == [
        "0 ns", "999 ns", "1.02 µs", "5 ms", "2.5 s", "3600 s"]  # fmt: skip
    assert [number(value, "count") for value in (4096, 0.25)] == ["4 096", "0.25"]
    assert [nice_step(width) for width in (0.3, 1, 3, 60)] == [0.5, 1, 5, 100]
    assert label("a < b") == "a &lt; b"


def test_a_run_plots_itself() -> None:
    def start(end, run, message, blob):
        started(end, run, message, blob)
        end.say(4, run, b"".join(record(ROW, {"n": n}, size=SIZE, ts=n) for n in range(23)))
        end.counters(run, hits=30, rows=23, dropped=7)
        end.end(run, "while", counters={"hits": 30, "rows": 23, "dropped": 7})

    connection = Connection(FarEnd({"start": start}))
    connection.wait_for_hello()
    run = a_run(connection, view=CARD, show="plot").start()
    assert run.wait(5)
    assert run.losses == [(0, 23, 7)]
    assert isinstance(run.plot(), go.Figure)
    assert run.plot("scatter").layout.yaxis.title.text == "n"
    shown = bundle(run)
    assert shown[PLOTLY]["data"][0]["type"] == "scatter"
    assert "20 of 23 rows" in shown["text/html"]
    assert "20 of 23 rows" in CARD.text(run)
    assert "<table" in CARD.html(run)
    assert "<table" not in card_bundle(run, pictured=True)["text/html"]  # the plot is below it
    with pytest.raises(CellError, match="without a view"):
        a_run(connection).plot()
