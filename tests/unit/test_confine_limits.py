# SPDX-License-Identifier: MIT
"""Limits of the compilers' process; what it cannot reach is tested with a compiler in it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

CODE = """
import json, resource, sys
from kpmagic.compiler.confine import confine
memory, seconds = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
confine([], memory=4 << 30, cpu_seconds=120)
print(json.dumps([resource.getrlimit(each) for each in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]))
"""
NONE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("allowed", "left"),
    [((NONE, NONE), (4 << 30, 120)), ((2 << 30, 60), (2 << 30, 60)),
     ((8 << 30, 600), (4 << 30, 120)), ((2 << 30, NONE), (2 << 30, 120))],
)  # fmt: skip
def test_the_system_may_allow_less(allowed: tuple[int, int], left: tuple[int, int]) -> None:
    command = [sys.executable, "-c", CODE, *map(str, allowed)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == [[each, each] for each in left]
