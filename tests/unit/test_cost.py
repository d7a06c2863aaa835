# SPDX-License-Identifier: MIT
"""What handlers cost, and the limit of it."""

from __future__ import annotations

import pytest

from kpmagic.agent.cost import MOST, Budget, Cost, Spent
from kpmagic.agent.refusal import Refused
from kpmagic.cell import values
from kpmagic.stats import account

SECOND = 1_000_000_000


def looks(budget: Budget, *shares: float) -> list[str]:
    """Judge a second for each share, one after the other."""
    busy, said = 0, []
    for number, share in enumerate(shares, 1):
        busy += round(share * SECOND)
        said.append(budget.judge(Spent(0, busy, number * SECOND)))
    return said


def test_within_the_limit_nothing_happens() -> None:
    budget = Budget(0.05)
    assert looks(budget, 0.05, 0.0, 0.049) == ["", "", ""]
    assert budget.one_in == 1
    assert budget.last_words() == ""


def test_over_it_as_many_are_left_out_as_needed_and_it_is_said_once() -> None:
    budget = Budget(0.05)
    said = looks(budget, 0.01, 0.20, 0.04, 0.06)
    assert "2.0 s after its start the probe took 20% of one CPU" in said[1]
    assert said[2:] == ["", ""]
    assert budget.one_in == 10
    assert budget.last_words() == "at the end one hit in 10 was recorded"


def test_it_ends_when_the_least_is_too_much_twice_in_a_row() -> None:
    budget = Budget(0.001)
    looks(budget, 2.0, 0.5)
    assert budget.one_in == MOST
    looks(again := Budget(0.001), 2.0, 0.5, 0.1, 0.0, 0.1)
    assert not again.exceeded
    looks(again := Budget(0.001), 2.0, 0.5, 0.1, 0.1)
    assert again.exceeded
    assert "even that" in again.last_words()


class Silent:
    """Probes on a kernel that does not tell."""

    gate = None

    def spent(self) -> None:
        return None


def test_where_the_kernel_does_not_tell_there_is_no_limit() -> None:
    cost = Cost(Silent(), 0.0)  # type: ignore[arg-type]
    cost.begin()
    assert cost.now() is None
    assert cost.end() == ""
    with pytest.raises(Refused, match="does not tell"):
        Cost(Silent(), 0.05)  # type: ignore[arg-type]


class Counting:
    """Probes whose handlers take 70 ns, on a kernel that counts while it is asked to."""

    def __init__(self) -> None:
        self.gate = self
        self.hits = self.seen = 0
        self.counting = True

    def hit(self, times: int) -> None:
        self.hits += times
        self.seen += times * self.counting

    def counters(self) -> dict[str, int]:
        return {"hits": self.hits, "entries": 0}

    def spent(self) -> tuple[int, int]:
        return self.seen, 70 * self.seen

    def measure(self, on: bool) -> None:
        self.counting = on


def test_without_a_limit_only_some_hits_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Counting()
    cost = Cost(probes, 0.0)  # type: ignore[arg-type]
    cost.begin()
    for times in (999, 1, 1_000_000):
        probes.hit(times)
        cost.ease()
    assert not probes.counting
    assert probes.seen == 1000
    monkeypatch.setattr("kpmagic.agent.cost.AGAIN_NS", 0)
    cost._again = 0  # half a minute later
    cost.ease()
    assert probes.counting
    probes.hit(3000)
    cost.ease()
    cost.end()
    spent = cost.now()
    assert spent is not None
    assert (spent.runs, spent.busy_ns) == (1_004_000, 70 * 1_004_000)
    assert probes.seen == 4000


def test_with_a_limit_every_hit_is_measured() -> None:
    probes = Counting()
    cost = Cost(probes, 0.5)  # type: ignore[arg-type]
    cost.begin()
    probes.hit(5000)
    cost.ease()
    assert probes.counting


def test_the_share_of_one_cpu() -> None:
    counters = {"hits": 4, "rows": 4, "runs": 4, "busy_ns": 5, "elapsed_ns": 100}
    assert account(counters, 4, over=True).cost == 0.05
    assert account({"hits": 4, "rows": 4}, 4, over=True).cost is None


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.5 %", 0.005), ("250%", 2.5)])
def test_a_share_is_written_in_percent(text: str, share: float) -> None:
    assert values.share(text) == pytest.approx(share)


@pytest.mark.parametrize("wrong", ["5", 5, 0.05, "0%", "-5%", "100000%", "5%%", "%"])
def test_what_is_no_share(wrong: object) -> None:
    with pytest.raises(ValueError, match="share of one CPU"):
        values.share(wrong)
