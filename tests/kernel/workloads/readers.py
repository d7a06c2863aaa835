# SPDX-License-Identifier: MIT
"""Two processes, victim and bystander, that each read 50 times 7 bytes; prints what failed."""

import collections
import errno
import os
import sys

CALLS = 50


def read(name: str) -> None:
    """Read under the name ``name``; tell the parent through the pipe."""
    fd = os.open("/dev/zero", os.O_RDONLY)
    with open("/proc/self/comm", "w") as file:
        file.write(name)
    failed: collections.Counter[str] = collections.Counter()
    for _ in range(CALLS):
        try:
            os.read(fd, 7)
        except OSError as error:
            failed[errno.errorcode[error.errno or 0]] += 1
    print(name, dict(failed), flush=True)
    os._exit(sum(failed.values()))


codes = []
for name in ("victim", "bystander"):
    if not os.fork():
        read(name)
    codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
sys.exit(codes[0] if not codes[1] else 99)
