# SPDX-License-Identifier: MIT
"""``seccomp.py N``: allow every system call by a filter, then write N times 512 bytes."""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_K, SECCOMP_RET_ALLOW = 0x06, 0x7FFF0000

libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack("HBBI", RET_K, 0, 0, SECCOMP_RET_ALLOW), 8)
program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
out = os.open("/dev/null", os.O_WRONLY)
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0
for _ in range(int(sys.argv[1])):
    os.write(out, b"x" * 512)
