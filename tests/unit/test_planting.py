# SPDX-License-Identifier: MIT
"""Room for many descriptors, and another place for a probe. Planting is tested on kernels."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import Any

import pytest

from kpmagic.agent.arguments import Program
from kpmagic.agent.planting import Planting
from kpmagic.agent.refusal import Refused

CODE = """
import os, resource
from kpmagic.agent.planting import SPARE, make_room
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
for run in range(100):
    make_room(places=1)
    kept = [os.dup(0) for _ in range(12)]
limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
assert limit > 1200 + SPARE // 2, limit
assert limit < 3000, limit
"""


def test_a_hundred_runs_have_room() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=60)


class Kernel:
    """An object of which the kernel refuses the places that it is told of."""

    def __init__(self, *refused: int) -> None:
        self.refused = refused
        self.planted: list[Program] = []

    def attach(self, place: Program) -> Any:
        if place.address in self.refused:
            raise Refused("attach", place.place, errno=errno.EINVAL)
        self.planted.append(place)
        return self

    def info(self, size: int) -> bytes:
        return bytes(size)


MOVED = Program("kp_0", "f", 0x1005, 5, False, exact=True, entry=0x1000)


def test_a_place_that_is_refused_has_another() -> None:
    kernel = Kernel(0x1005)
    planting = Planting(kernel, [], lambda: None)  # type: ignore[arg-type]
    planting.plant([MOVED])
    planting.check()
    assert [(each.address, each.offset) for each in kernel.planted] == [(0x1000, 0)]
    assert planting.attached == [{"program": "kp_0", "address": 0x1000}]
    assert planting.left_out == []


def test_a_place_that_is_refused_twice_is_refused() -> None:
    planting = Planting(Kernel(0x1005, 0x1000), [], lambda: None)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"f\+0x0"):
        planting.plant([MOVED])
    planting.plant([MOVED._replace(optional=True)])
    assert [each["symbol"] for each in planting.left_out] == ["f"]
