# SPDX-License-Identifier: MIT
"""Exercises and lessons asked for, and answered, in odd ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from runs import finished

from kpmagic.errors import CellError
from kpmagic.teach import check, lesson


@pytest.mark.parametrize("answer", [float("inf"), float("nan"), "many", None, [1], 1j])
def test_an_answer_of_another_kind_is_a_wrong_one(answer: Any) -> None:
    verdict = check("10.1", answer)
    assert not verdict
    assert "the number of a sector" in verdict.hint


def test_a_run_without_a_hit_divides_nothing_by_zero() -> None:
    run = finished(rows=0, more={"counters": {"entries": 0}})
    run.plan = replace(run.plan, probe=replace(run.plan.probe, kind="kretprobe"))
    assert run.stats.entries == 0
    assert not check("03.2", 0.5, run)


@pytest.mark.parametrize("name", [1.1, ["01.1"], None, "1.1", "99.1", ""])
def test_what_is_no_exercise_is_refused(name: Any) -> None:
    with pytest.raises(CellError, match="no exercise"):
        check(name, 1)


@pytest.mark.parametrize("number", [3, None, "3", "003", ""])
def test_what_is_no_lesson_is_refused(number: Any) -> None:
    with pytest.raises(CellError, match="no lesson"):
        lesson(number)
