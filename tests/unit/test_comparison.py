# SPDX-License-Identifier: MIT
"""Two runs side by side: quantiles, and limits that hold as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from seen import Seen, seen

import kpmagic
from kpmagic.comparison import ranks
from kpmagic.errors import CellError
from kpmagic.view.plots_data import MOST


def latencies(count: int, scale: float, seed: int = 1) -> Seen:
    drawn = np.random.default_rng(seed).lognormal(9, 1, count) * scale
    run = seen(count, latency=drawn.astype(np.int64))
    run.name = f"vfs_read × {scale}"
    return run


@pytest.mark.parametrize("count", [1, 5, 100, 5000])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_ranks_hold_95_percent(count: int, quantile: float) -> None:
    low, high = ranks(count, quantile)
    chance = [math.exp(math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
                       + k * math.log(quantile) + (count - k) * math.log(1 - quantile))
              for k in range(count + 1)]  # fmt: skip
    assert sum(chance[low:high]) >= 0.95
    if high <= count:
        assert sum(chance[high - 1 :]) <= 0.025 + chance[high - 1]
    assert 0 <= low < high <= count + 1


def test_a_slower_run_differs_and_a_like_one_does_not() -> None:
    a, like, slower = latencies(4000, 1), latencies(4000, 1, seed=2), latencies(4000, 1.5, seed=3)
    table = kpmagic.compare(a, slower).df
    assert list(table.index) == [0.5, 0.9, 0.99]
    assert table["differs"].all()
    assert (table["a_low"] <= table["a"]).all()
    assert (table["a"] <= table["a_high"]).all()
    assert table.loc[0.5, "a"] == np.quantile(a.frame["latency"], 0.5, method="inverted_cdf")
    assert not kpmagic.compare(a, like).df["differs"].any()
    assert not kpmagic.compare(a, a).df["difference"].any()


def test_too_few_rows_to_tell() -> None:
    table = kpmagic.compare(latencies(20, 1), latencies(20, 100), quantiles=[0.5, 0.99]).df
    assert table["differs"].tolist() == [True, False]
    assert table["a_high"].isna().tolist() == [False, True]
    assert "?" in repr(kpmagic.compare(latencies(20, 1), latencies(20, 1)))


def test_what_is_shown() -> None:
    both = kpmagic.compare(latencies(5000, 1), latencies(5000, 2))
    text = repr(both)
    assert "a: vfs_read × 1" in text
    assert " µs (" in text
    assert "99 %" in text
    assert "5 000 and 5 000 rows" in text
    assert "<table>" in both._repr_html_()
    figure = both.plot()
    assert [trace.name for trace in figure.data if trace.showlegend is None] == [
        "a: vfs_read × 1", "b: vfs_read × 2"]  # fmt: skip
    assert all(len(trace.x) <= MOST for trace in figure.data)
    assert max(figure.data[0].x) == pytest.approx(both.samples[0].max() / 1e3)
    assert figure.layout.xaxis.title.text == "latency (µs)"


def test_the_axis_is_logarithmic_where_the_quicker_run_would_be_a_line() -> None:
    quick = seen(500, latency=np.full(500, 6_000) + np.arange(500))
    slow = seen(500, latency=np.append(np.full(499, 60_000) + np.arange(499), 600_000))
    assert kpmagic.compare(slow, slow).plot().layout.xaxis.type == "linear"
    assert kpmagic.compare(quick, slow).plot().layout.xaxis.type == "log"
    assert kpmagic.compare(slow, quick).plot().layout.xaxis.title.text == "latency (µs)"


def test_refusals() -> None:
    run = latencies(5, 1)
    names = seen(3, name=pd.Categorical(list("abc")))
    for a, b, column, text in [
        (run, seen(0), "", "no rows"),
        (run, names, "", "no column 'latency'"),
        (names, run, "name", "'name' is not a number"),
        (run, run, "latncy", "did you mean latency"),
    ]:
        with pytest.raises(CellError) as caught:
            kpmagic.compare(a, b, column)
        assert text in str(caught.value)
    for wrong in ([50], "x", ["0.5"], [None], [], None):
        with pytest.raises(CellError, match="between 0 and 1"):
            kpmagic.compare(run, run, quantiles=wrong)  # type: ignore[arg-type]
    assert list(kpmagic.compare(run, run, quantiles=0.5).df.index) == [0.5]
    for other in (7, "vfs_read", None, run.df()):
        with pytest.raises(CellError, match="takes two runs, not a"):
            kpmagic.compare(run, other)
    with pytest.raises(CellError, match="no column"):
        kpmagic.compare(run, run, ["latency"])  # type: ignore[arg-type]
