# SPDX-License-Identifier: MIT
"""python3 -I -S agent.pyz PORT: serve the notebook at PORT, or at stdin and stdout for ``-``.

With ``--sandbox`` for PORT the machine is a sandbox that only now gets its root and its port.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

from kpmagic.agent import wire
from kpmagic.agent.channel import Channel, HangUp, open_channel
from kpmagic.agent.hello import hello

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(argv: list[str]) -> int:
    """Serve until the other side hangs up or a signal says so; leave nothing behind."""
    if len(argv) != 2:
        print(f"usage: {argv[0]} PORT", file=sys.stderr)
        return 2
    _at_signals(_leave)
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
    with contextlib.ExitStack() as end:
        end.callback(agent.close)
        end.callback(_at_signals, signal.SIG_IGN)  # a signal as this begins does not skip the rest
        agent.serve()
    return 0


def _at_signals(action: Any) -> None:
    for number in ENDS:
        signal.signal(number, action)


def _leave(number: int, frame: FrameType | None) -> None:
    _at_signals(_leaving)
    raise SystemExit(128 + number)


def _leaving(number: int, frame: FrameType | None) -> None:
    """One that has come meanwhile: raised again, it would end the undoing.

    Python complains of those that have come when they are to be ignored, and may call SIG_IGN.
    """


if __name__ == "__main__":
    sys.exit(main(sys.argv))
