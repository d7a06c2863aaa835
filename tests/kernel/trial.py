# SPDX-License-Identifier: MIT
"""One case as it runs on a target: what is set up, the probes beside it, what is asked of it."""

from __future__ import annotations

import re
import time
from typing import Any

from case import Case
from ways import ASKS, WAYS

from kpmagic.channel.connection import Connection
from kpmagic.errors import TargetError

TRACED = "/sys/kernel/tracing/enabled_functions"
PATIENCE = 5.0  # s until what must be so while probes run is so


class Trial:
    """A context: entered, the target is set up and the ALSO probes run; left, all is undone."""

    def __init__(self, each: Case, way: str, target: Connection) -> None:
        self.each, self.way, self.target = each, way, target
        self.release = target.release
        self.run: Any = None
        self.also: list[Any] = []
        self.answers: list[str] = []
        self.names: dict[str, Any] = {"shell": self.shell, "gone": self.gone, "target": target}

    def has_function(self, name: str) -> bool:
        """Whether the running kernel has a function, or a module that is loaded."""
        return name in self.target.facts_with_modules().symbols

    def has_file(self, path: str) -> bool:
        """Whether a file is there on the target."""
        try:
            self.target.read(path, 1)
        except TargetError:
            return False
        return True

    def shell(self, command: str) -> str:
        """Run a command on the target; return what it prints."""
        said: list[tuple[str, str]] = []
        code = self.target.run(command, lambda *piece: said.append(piece))
        text = "".join(text for _, text in said)
        assert code == 0, f"{self.each.at}: {command} ended with {code}\n{text}"
        return "".join(text for stream, text in said if stream == "stdout")

    def gone(self, *beginnings: str) -> bool:
        """Whether nothing traces functions of these names any more; kernels take their time."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            traced = self.shell(f"cat {TRACED}").splitlines()
            if not any(line.startswith(beginnings) for line in traced):
                return True
            time.sleep(0.1)
        return False

    def __enter__(self) -> Trial:
        try:
            for command in self.each.setup:
                self.shell(command)
            for name, expression in self.each.names:
                self.names[name] = eval(expression, {"re": re, **self.names})
            for cell in self.each.also:
                self.also.append(WAYS[self.way](cell, self.target, self.names))
        except BaseException:
            self.__exit__()
            raise
        return self

    def act(self) -> None:
        """Run the PROBE, ask what there is to ASK, see what must be so DURING, stop the rest."""
        if self.each.cell is not None:
            self.run = WAYS[self.way](self.each.cell, self.target, self.names)
        for line in self.each.asks:
            self.answers.append(ASKS[self.way](line.removeprefix("%kp").strip(), self.target))
        for expression in self.each.during:
            self._until(expression)
        self._stop()

    def _until(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE
        while not eval(expression, self.names | {"also": self.also, "run": self.run}):
            assert time.monotonic() < end, f"{self.each.at}: DURING {expression}"
            time.sleep(0.05)

    def _stop(self) -> None:
        for run in (*self.also, self.run):
            if run is not None and run.state == "running":
                run.stop()

    def __exit__(self, *_: object) -> None:
        if not self.target.alive:
            return
        self._stop()
        for command in self.each.cleanup:
            self.shell(command)
