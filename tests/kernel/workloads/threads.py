# SPDX-License-Identifier: MIT
"""``threads.py N``: N processes, one after the other, each call getsid() once."""

import os
import sys

for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.getsid(0)
        os._exit(0)
    os.waitpid(child, 0)
