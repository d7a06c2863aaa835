# SPDX-License-Identifier: MIT
"""What ``%kp show NAME --stage …`` prints of a script that another tracer runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from ..errors import CellError
from .run import PeerRun


def plan(run: PeerRun) -> str:
    """Who runs it, and with which options."""
    lines = [f"{run.script.tool} on {run.info['target']} {run.info['kernel_release']}"]
    lines += [f"  {name} = {value!r}" for name, value in run.info["options"].items()]
    return "\n".join(lines)


def source(run: PeerRun) -> str:
    """The script."""
    return run.source


def log(run: PeerRun) -> str:
    """What the tracer said on its error output, and the agent."""
    lines = [str(run.failure)] * bool(run.failure) + [run.error] * bool(run.error)
    lines += [run.said.rstrip()] * bool(run.said) + run.remarks
    return "\n".join(lines) or f"nothing; what {run.script.tool} printed is NAME.df()"


def nothing(run: PeerRun) -> NoReturn:
    """Refuse. Raises CellError."""
    raise CellError(f"{run.script.tool} compiles the script itself, on the target",
                    hint="--stage source is what it is given")  # fmt: skip


PEER_STAGES: dict[str, Callable[[PeerRun], str]] = {
    "plan": plan,
    "source": source,
    "makefile": nothing,
    "build": nothing,
    "asm": nothing,
    "log": log,
}
