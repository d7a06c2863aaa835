# SPDX-License-Identifier: MIT
"""``pingpong.py N``: two processes wake each other N times through two pipes."""

import os
import sys

there, back = os.pipe(), os.pipe()
count = int(sys.argv[1])
child = os.fork()
for _ in range(count):
    if child == 0:
        os.read(there[0], 1)
        os.write(back[1], b"x")
    else:
        os.write(there[1], b"x")
        os.read(back[0], 1)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
