# SPDX-License-Identifier: MIT
"""The completer IPython asks; what is heavy is imported when a cell of ours is being typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)
from IPython.core.interactiveshell import InteractiveShell

if TYPE_CHECKING:
    from .complete import Known

FIRST = 1000  # before Python's own matchers, which take seconds to find nothing in C
_OURS = re.compile(r"\s*%{1,2}(?:kprobe|kretprobe|kmodule|kp)\b")


def add(shell: InteractiveShell, known: Callable[[], Known]) -> None:
    """Have ``shell`` complete our cells with what is ``known`` at the time."""

    @context_matcher(priority=FIRST)  # type: ignore[untyped-decorator]
    def kpmagic_matcher(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")
        if not (_OURS.match(lines[0]) or _OURS.match(lines[context.cursor_line])):
            return SimpleMatcherResult(completions=[])
        from .complete import complete

        offer = complete(context.full_text, context.cursor_line, context.cursor_position, known())
        found = [SimpleCompletion(word, type=kind) for word, kind in offer.words.items()]
        return SimpleMatcherResult(completions=found, matched_fragment=offer.fragment,
                                   suppress=True, ordered=True)  # fmt: skip

    remove(shell)
    _matchers(shell).append(kpmagic_matcher)


def remove(shell: InteractiveShell) -> None:
    """Undo `add`."""
    matchers = _matchers(shell)
    matchers[:] = [each for each in matchers if each.__module__ != __name__]


def _matchers(shell: InteractiveShell) -> list[Any]:
    completer = getattr(shell, "Completer", None)
    return [] if completer is None else completer.custom_matchers
