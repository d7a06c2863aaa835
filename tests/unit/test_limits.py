# SPDX-License-Identifier: MIT
"""When a run ends by itself."""

from __future__ import annotations

import pytest

from kpmagic.agent import arguments
from kpmagic.agent.limits import MS, Ends, Limits

HOUR = 3600 * 1000 * MS


def test_nothing_ends_before_it_begins() -> None:
    ends = Ends(Limits(0, 0))
    assert (ends.reason(), ends.patience(50)) == ("", 50)
    ends.begin()
    assert (ends.reason(), ends.patience(50)) == ("for", 0)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(), ""),
        (Limits(HOUR, HOUR), ""),
        (Limits(0, HOUR), "for"),
        (Limits(None, 0), "max-time"),
    ],
)
def test_the_end_that_has_come(limits: Limits, reason: str) -> None:
    ends = Ends(limits)
    ends.begin()
    assert ends.reason() == reason
    assert ends.patience(50) == (0 if reason else 50)


def test_what_a_request_says() -> None:
    assert arguments.limits({"for_ns": 5, "max_ns": None}) == Limits(5, None)
    assert arguments.limits({"max_ns": 0}) == Limits(None, 0)
    with pytest.raises(arguments.Refused, match="max_ns"):
        arguments.limits({"max_ns": "soon"})
