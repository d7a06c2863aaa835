# SPDX-License-Identifier: MIT
"""python3 -I -S agent.pyz PORT: serve the notebook at PORT, or at stdin and stdout for ``-``.

With ``--sandbox`` for PORT the machine is a sandbox that only now gets its root and its port.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from kpmagic.agent import wire
from kpmagic.agent.channel import Channel, HangUp, open_channel
from kpmagic.agent.hello import hello


def main(argv: list[str]) -> int:
    """Serve until the other side hangs up or a signal says so; leave nothing behind."""
    if len(argv) != 2:
        print(f"usage: {argv[0]} PORT", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        channel = _channel(argv[1])
        channel.send(wire.HELLO, 0, wire.pack_json(hello()))
        channel.flush()
        return _serve(channel, os.getppid() if argv[1] == "-" else None)
    except HangUp:
        return 0


def _channel(name: str) -> Channel:
    if name != "--sandbox":
        return open_channel(name)
    from kpmagic.agent import root, waking

    try:
        return waking.wake()
    except root.Failed as error:
        print(f"kpmagic: {error}", file=sys.stderr)
        raise HangUp(str(error)) from None


def _serve(channel: Channel, parent: int | None) -> int:
    from kpmagic.agent.loop import Agent

    agent = Agent(channel, parent)
    try:
        agent.serve()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        agent.close()
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
