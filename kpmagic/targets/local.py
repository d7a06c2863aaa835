# SPDX-License-Identifier: MIT
"""This machine's own kernel: the agent runs as root, through sudo where the notebook is not."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from kpmagic.errors import MissingDependency
from kpmagic.targets import ends, folder
from kpmagic.targets.child import PYTHON, Child
from kpmagic.targets.lease import LOCAL

ANSWER_SECONDS = 20.0


class Local:
    """The machine this runs on; never chosen by itself.

    Without root or capabilities that suffice it needs a sudo that does not ask. Raises TargetError.
    """

    name = "local"
    lease = LOCAL

    def __init__(self, workdir: Path | None = None) -> None:
        self.cwd = str(folder.own(workdir))
        self._child: Child | None = None

    @property
    def alive(self) -> bool:
        """Whether the agent's process runs."""
        return self._child is not None and self._child.alive

    def open_agent(self) -> Child:
        """Start the agent and return the channel to it. Raises NotPermitted, TargetError."""
        if not Path(PYTHON[0]).exists():
            raise MissingDependency(f"no {PYTHON[0]!r}: the agent runs on the system's Python",
                                    hint="sudo apt-get install python3")  # fmt: skip
        child = self._child = Child(self.name, PYTHON)
        try:
            if child.answers(ANSWER_SECONDS):
                return child
            child.wait(0.5)
            raise ends.why(child.messages(), what=self.name, user=_user())
        except BaseException:
            self.close()
            raise

    def kernel_btf(self) -> None:
        """Return None: the agent reads it."""
        return

    def last_words(self) -> str:
        """Return what sudo or the agent's Python said, or ``""``."""
        return "" if self._child is None else self._child.messages()

    def close(self) -> None:
        """End the agent, which undoes everything."""
        if self._child is not None:
            self._child.close()


def _user() -> str:
    """Return this user as sudoers(5) names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"#{os.getuid()}"
