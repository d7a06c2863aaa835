# SPDX-License-Identifier: MIT
"""Every paragraph of every ``*.case`` file, as a function and as a magic, and as a module."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import case
import pandas as pd
import pytest
from trial import Trial

import kpmagic
from kpmagic.channel.connection import Connection

CASES = [each for path in sorted(Path(__file__).parent.glob("*.case")) for each in case.read(path)]

ALL = "KPMAGIC_BCC_CASES"  # set: all of them, half a minute each under emulation
NOT_BY_BCC = (  # it does not tell what programs cost, attaches by name, and its source has no SEC()
    "--max-overhead that is not reached changes nothing",
    "over --max-overhead fewer hits are recorded, then none",
    "over --max-overhead a call is counted, and its return not looked at",
    "all functions of one name",
    "a dry run attaches nothing",
)
BY_BCC = (
    "the README's first cell gives 23 rows",
    "rows and counts together",
    "10,007 reads of 10 bytes",
    "60 sleeping callers: no call is forgotten",
    "a small buffer and a tight loop: what is dropped is counted",
    "a bad pointer gives 0 or nothing, and never ends anything",
)


@pytest.mark.parametrize(
    ("each", "way"),
    [pytest.param(each, way, id=f"{each.title}-as-{way}")
     for each in CASES if "bpf" in each.backends for way in each.ways],
)  # fmt: skip
def test_case(each: case.Case, way: str, sandbox: Connection) -> None:
    check(each, way, sandbox)


@pytest.mark.parametrize(
    "each", [pytest.param(each, id=each.title) for each in CASES if "kmod" in each.backends]
)
def test_case_as_module(each: case.Case, sandbox: Connection) -> None:
    assert each.cell is not None
    also = tuple(cell.on("kmod") for cell in each.also)
    check(replace(each, cell=each.cell.on("kmod"), also=also), each.ways[0], sandbox)


@pytest.mark.parametrize(
    "each", [pytest.param(each, id=each.title) for each in CASES
             if "bcc" in each.backends and each.name not in NOT_BY_BCC
             and (each.name in BY_BCC or os.environ.get(ALL))]
)  # fmt: skip
def test_case_by_bcc(each: case.Case, sandbox: Connection) -> None:
    assert each.cell is not None
    also = tuple(cell.on("bcc") for cell in each.also)
    check(replace(each, cell=each.cell.on("bcc"), also=also), each.ways[0], sandbox)


def check(each: case.Case, way: str, sandbox: Connection) -> None:
    """Run a case, and see that it shows what it says."""
    trial = Trial(each, way, sandbox)
    missing = next((need for need in each.requires if not need.holds(trial)), None)
    if missing is not None:
        pytest.skip(f"{sandbox.release} has not: {missing.feature} ({each.at})")
    with trial:
        if each.error is None:
            trial.act()
            names = scope(trial)
        else:
            name, text = each.error
            with pytest.raises(getattr(kpmagic, name)) as caught:
                trial.act()
            assert text in str(caught.value), each.at
            names = trial.names | {"message": str(caught.value)}
        for expression in each.expect:
            assert eval(expression, dict(names)), f"{each.at}: {expression}\n{seen(names)}"


def scope(trial: Trial) -> dict[str, Any]:
    """Return the names that an EXPECT line may use."""
    names: dict[str, Any] = trial.names | {"also": trial.also, "answers": trial.answers}
    names |= {"dfs": [run.df() for run in trial.also], "answer": "".join(trial.answers[-1:])}
    run = trial.run
    if run is not None:
        if run.stopped_by == "target-lost":  # emulated kernels die now and then: tried once more
            raise kpmagic.TargetLost(str(run))
        df = run.df()
        names |= {"run": run, "df": df, "rows": len(df), "card": str(run), "pd": pd}
        names |= {word: getattr(run, word, None) for word in ("stats", "aggregates")}
    return names


def seen(names: dict[str, Any]) -> str:
    """Return what there was to see, for somebody who looks for the reason."""
    parts = [names.get("card", ""), names.get("message", ""), *names.get("answers", ())]
    tables = {f"also {n}": df for n, df in enumerate(names.get("dfs", ()))}
    tables |= {"df": names["df"]} if "df" in names else {}
    tables |= names.get("aggregates") or {}
    parts += [f"{label}:\n{table.head(30)}" for label, table in tables.items()]
    return "\n".join(parts)
