# SPDX-License-Identifier: MIT
"""Room for the descriptors of many probes. What is planted is tested on kernels."""

from __future__ import annotations

import subprocess
import sys

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
