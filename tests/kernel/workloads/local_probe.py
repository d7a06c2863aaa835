# SPDX-License-Identifier: MIT
"""``local_probe.py OBJECT``: be a notebook whose target is ``local``, on the machine this runs on.

OBJECT is a file. Prints the agent's user and how many calls were counted and have arrived, or the
error as a user sees it.
"""

import subprocess
import sys
import threading
from pathlib import Path

from kpmagic.agent import wire
from kpmagic.channel.connection import Connection
from kpmagic.errors import KpmagicError
from kpmagic.targets.local import Local

CALLS = 307
STRIDE = 72


class Listener:
    def __init__(self) -> None:
        self.rows = 0
        self.end = {}
        self.ended = threading.Event()

    def on_frame(self, frame: wire.Frame) -> None:
        if frame.type == wire.DATA:
            self.rows += len(frame.payload) // STRIDE
        elif frame.type == wire.END:
            self.end, _ = wire.unpack(frame.payload)
            self.ended.set()

    def on_lost(self) -> None:
        self.ended.set()


def calls() -> None:
    """Make the calls, in a process of the name that is counted."""
    code = "import os; open('/proc/self/comm', 'w').write('caller')\n"
    code += f"for _ in range({CALLS}): os.getsid(0)"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def main() -> None:
    connection = Connection(Local())
    connection.wait_for_hello()
    status = Path(f"/proc/{connection.hello['pid']}/status").read_text()
    uid = next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:"))
    number, listener = connection.new_number(), Listener()
    connection.listen(number, listener)
    places = [{"program": "entry", "symbol": "__x64_sys_getsid"}]
    connection.request(
        "start", Path(sys.argv[1]).read_bytes(), run=number, timeout=120, programs=places,
        record=64, buffer=1 << 20, config={"comm": "caller"},
    )  # fmt: skip
    calls()
    connection.request("stop", run=number, reason="user")
    assert listener.ended.wait(60)
    print(f"agent of {uid}:", listener.end["counters"]["rows"], listener.rows)
    connection.close()


try:
    main()
except KpmagicError as error:
    print(f"{type(error).__name__}: {error}")
