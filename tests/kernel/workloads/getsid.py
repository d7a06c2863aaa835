# SPDX-License-Identifier: MIT
"""``getsid.py N [M]``: call getsid() N times; with M, M times on processor 0 and N on 1."""

import os
import sys

calls = [int(word) for word in sys.argv[1:]]
for cpu, count in enumerate(reversed(calls)):
    if len(calls) > 1:
        os.sched_setaffinity(0, {cpu})
    for _ in range(count):
        os.getsid(0)
