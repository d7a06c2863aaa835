# SPDX-License-Identifier: MIT
"""``loopback.py N``: send N datagrams of 107 bytes to this machine, and receive each."""

import socket
import sys

here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("127.0.0.1", 0))
for _ in range(int(sys.argv[1])):
    here.sendto(b"x" * 107, here.getsockname())
    here.recv(200)
