# SPDX-License-Identifier: MIT
"""Every paragraph of every ``*.case`` file, as a function and as a magic, and as a module."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import case
import pandas as pd
import pytest
import ways

import kpmagic
from kpmagic.connection import Connection

CASES = [each for path in sorted(Path(__file__).parent.glob("*.case")) for each in case.read(path)]


def scope(run: Any) -> dict[str, Any]:
    """Return the names that an EXPECT line may use."""
    df = run.df()
    return {
        "run": run,
        "df": df,
        "rows": len(df),
        "stats": run.stats,
        "aggregates": run.aggregates,
        "card": str(run),
        "pd": pd,
    }


@pytest.mark.parametrize(
    ("each", "way"),
    [pytest.param(each, way, id=f"{each.name}-as-{way}")
     for each in CASES if "bpf" in each.backends for way in each.ways],
)  # fmt: skip
def test_case(each: case.Case, way: str, sandbox: Connection) -> None:
    check(each, way, sandbox)


@pytest.mark.parametrize(
    "each", [pytest.param(each, id=each.name) for each in CASES if "kmod" in each.backends]
)
def test_case_as_module(each: case.Case, sandbox: Connection) -> None:
    line = each.line if "--backend" in each.line else f"{each.line} --backend kmod"
    check(replace(each, line=line), each.ways[0], sandbox)


def check(each: case.Case, way: str, sandbox: Connection) -> None:
    """Run a case, and see that it shows what it says."""
    if not each.fits(sandbox.release):
        pytest.skip(f"{each.at} is for {each.requires}, this is {sandbox.release}")
    if each.error is not None:
        name, text = each.error
        with pytest.raises(getattr(kpmagic, name)) as caught:
            ways.WAYS[way](each, sandbox)
        assert text in str(caught.value), each.at
        return
    names = scope(ways.WAYS[way](each, sandbox))
    for expression in each.expect:
        assert eval(expression, dict(names)), (
            f"{each.at}: {expression}\n{names['card']}\n{names['df'].head(30)}\n"
            + "\n".join(f"{label}:\n{table}" for label, table in names["aggregates"].items())
        )
