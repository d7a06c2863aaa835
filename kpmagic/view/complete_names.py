# SPDX-License-Identifier: MIT
"""Names by their beginning: two steps of bisection among some 150,000."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from fnmatch import translate
from itertools import islice

MOST = 200


class Names:
    """Sorted names."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(set(names))

    def starting(self, beginning: str, most: int = MOST) -> list[str]:
        """Return the first ``most`` names that begin so, or that match a shell pattern so far."""
        plain = min((beginning.find(mark) for mark in "*?[" if mark in beginning), default=-1)
        if plain < 0:
            return self._range(beginning, most)
        pattern = beginning if beginning.endswith("*") else f"{beginning}*"
        near = self._range(beginning[:plain], len(self.names))
        return list(islice(filter(re.compile(translate(pattern)).match, near), most))

    def _range(self, beginning: str, most: int) -> list[str]:
        start = bisect_left(self.names, beginning)
        # no name has a character beyond the last one of Unicode
        end = bisect_left(self.names, beginning + chr(0x10FFFF), start)
        return self.names[start : min(end, start + most)]
