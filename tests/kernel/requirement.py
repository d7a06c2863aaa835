# SPDX-License-Identifier: MIT
"""What a kernel must have for a case: a function, a file, or where nothing else tells, a version.

A sentence may name the feature in brackets: ``file /sys/kernel/btf/overlay (types of modules)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

FORM = re.compile(
    r"(?:kernel (?P<order>>=|<|==) (?P<major>\d+)\.(?P<minor>\d+)"
    r"|(?P<kind>function|no function|file) (?P<what>\S+))(?: \((?P<feature>[^()]+)\))?"
)


class Kernel(Protocol):
    """What is asked: see targets in test_cases."""

    release: str

    def has_function(self, name: str) -> bool:
        """Whether the running kernel has it."""

    def has_file(self, path: str) -> bool:
        """Whether it is there on the target."""


@dataclass(frozen=True)
class Requirement:
    """One sentence behind REQUIRES; ``feature`` is what is missing where it does not hold."""

    kind: str
    what: str
    feature: str
    order: str = ""
    version: tuple[int, int] = (0, 0)

    @classmethod
    def parse(cls, text: str, at: str) -> Requirement:
        """Return what ``text`` says. Raises ValueError."""
        match = FORM.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{at}: REQUIRES is 'kernel >= 6.12', 'function NAME', 'no function NAME' or "
                "'file PATH', with what is missing in brackets"
            )
        feature = match["feature"] or text
        if match["kind"]:
            return cls(match["kind"], match["what"], feature)
        version = (int(match["major"]), int(match["minor"]))
        return cls("kernel", text, feature, match["order"], version)

    def holds(self, kernel: Kernel) -> bool:
        """Whether the kernel has it."""
        if self.kind == "file":
            return kernel.has_file(self.what)
        if self.kind != "kernel":
            return kernel.has_function(self.what) == (self.kind == "function")
        has = tuple(int(number) for number in kernel.release.split("-")[0].split(".")[:2])
        return {
            ">=": has >= self.version,
            "<": has < self.version,
            "==": has == self.version,
        }[self.order]
