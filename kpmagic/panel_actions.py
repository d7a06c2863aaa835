# SPDX-License-Identifier: MIT
"""What the buttons of ``%kp panel`` do: the same functions as the magics."""

from __future__ import annotations

from .cell.syntax import parse_probe
from .kernel.facts import KernelFacts
from .session import session
from .starting import start
from .view.panel_all import Actions


def probe(name: str) -> None:
    """Probe a function with every argument as a column. Raises KpmagicError."""
    start(parse_probe("kprobe", name, None, cell="panel"), session.connection())


def target() -> str:
    """Return what there is to say of the default target."""
    now = session.default
    return f"{now.name} {now.release}, running" if now else "none; the first probe starts one"


def facts() -> KernelFacts | None:
    """Return the default target's facts as far as they are known."""
    return session.default.known_facts if session.default else None


ACTIONS = Actions(
    probe=probe,
    fresh_target=session.fresh,
    remove=session.remove,
    runs=session.runs,
    target=target,
    facts=facts,
)
