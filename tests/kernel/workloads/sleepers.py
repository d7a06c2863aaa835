# SPDX-License-Identifier: MIT
"""``sleepers.py N``: N processes sleep at the same time; half of them are woken by a signal."""

import os
import signal
import sys
import time

children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        time.sleep(2)
        os._exit(0)
    children.append(child)
time.sleep(0.5)
for child in children[::2]:
    os.kill(child, signal.SIGTERM)
for child in children:
    os.waitpid(child, 0)
