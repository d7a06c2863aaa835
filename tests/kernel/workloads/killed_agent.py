# SPDX-License-Identifier: MIT
"""``killed_agent.py REQUEST SIGNAL``: start a second agent and a run, kill it, see what stays.

REQUEST is a file: what is asked of it as JSON, with the payload in base64 as "payload". Prints what
was there while it ran and how long it took to go, or ``left``.
"""

import base64
import glob
import json
import os
import signal
import subprocess
import sys
import time

PATIENCE = 60
ARCHIVE = "/run/kpmagic/agent.pyz"
sys.path.insert(0, ARCHIVE)
from kpmagic.agent import wire  # noqa: E402


def left(pid: int) -> int:
    with open("/sys/kernel/debug/kprobes/list") as file:
        return len(file.readlines()) + len(glob.glob(f"/sys/fs/cgroup/kpmagic.{pid}.*"))


def start(agent: "subprocess.Popen[bytes]") -> bool:
    with open(sys.argv[1]) as file:
        message = json.load(file)
    payload = base64.b64decode(message.pop("payload"))
    request = wire.pack(message, payload)
    agent.stdin.write(wire.encode(wire.REQUEST, 1, request))
    agent.stdin.flush()
    reader = wire.Reader()
    while True:
        for frame in reader.feed(os.read(agent.stdout.fileno(), 1 << 16)):
            if frame.type == wire.REPLY:
                return "ok" in wire.unpack(frame.payload)[0]


arguments = [sys.executable, "-I", "-S", ARCHIVE, "-"]
agent = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print("started", start(agent), left(agent.pid))
began = time.monotonic()
if sys.argv[2] == "hang up":
    agent.stdin.close()
else:
    agent.send_signal(getattr(signal, sys.argv[2]))
while left(agent.pid) and time.monotonic() - began < PATIENCE:
    time.sleep(0.01)
print("left" if left(agent.pid) else "gone", time.monotonic() - began)
agent.wait()
