# SPDX-License-Identifier: MIT
"""The switches with which an administrator silences probes: the kernel says nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kpmagic.agent.refusal import Refused


class Switch(NamedTuple):
    """What is off, the file in which it is 0 then, and what turns it on again."""

    name: str
    path: str
    remedy: str


KPROBES = Switch(
    "kprobes",
    "/sys/kernel/debug/kprobes/enabled",
    "echo 1 > /sys/kernel/debug/kprobes/enabled",
)
FTRACE = Switch("ftrace", "/proc/sys/kernel/ftrace_enabled", "sysctl kernel.ftrace_enabled=1")


def switched_off() -> Iterator[Switch]:
    """Yield those that are off; one that cannot be read is taken to be on."""
    for switch in (KPROBES, FTRACE):
        try:
            with open(switch.path, encoding="ascii") as file:
                if file.read().strip() == "0":
                    yield switch
        except OSError:
            continue


def check_switches() -> None:
    """Refuse when a probe could be planted but would never fire. Raises Refused."""
    for switch in switched_off():
        raise Refused(
            "attach",
            f"{switch.name} {'are' if switch is KPROBES else 'is'} switched off on this machine; "
            f"on again: {switch.remedy}",
        )
