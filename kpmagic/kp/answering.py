# SPDX-License-Identifier: MIT
"""What ``%kp`` asks a kernel: recorded if so wished, and on a replay what was recorded."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, TextIO

from ..answers import Answer, Picture, add, error_of, failure_of, of_line
from ..errors import KpmagicError
from ..session import recorder, session
from ..view.clean import clean_text
from ..view.mechanisms import Mechanisms
from ..view.trampoline import Trampoline


def answered(name: str, words: list[str], ask: Callable[[list[str]], Any]) -> Any:
    """Do what the words of a ``%kp`` line say. Raises KpmagicError."""
    connection = session.connection()
    replay = getattr(connection.target, "answer", None)
    if replay is not None:
        return _said_again(replay([name, *words]))
    where = recorder(connection)
    if where is None:
        return ask(words)
    heard = io.StringIO()
    with redirect_stdout(Tee(heard, sys.stdout)), redirect_stderr(Tee(heard, sys.stderr)):
        value: Any = None
        failure = None
        try:
            value = ask(words)
        except KpmagicError as error:
            failure = failure_of(error)
            raise
        finally:
            cell = of_line([name, *words])
            number = value if isinstance(value, int) else None
            add(where, Answer(cell, heard.getvalue(), number, failure, _picture(value)))
    return value


def _picture(value: Any) -> Picture | None:
    if isinstance(value, Trampoline):
        return Picture(trampoline=value)
    return Picture(mechanisms=value) if isinstance(value, Mechanisms) else None


def _said_again(answer: Answer) -> Any:
    """Print, raise or return what there was."""
    print(clean_text(answer.text), end="")
    if answer.failure is not None:
        raise error_of(answer.failure)
    picture = answer.picture or Picture()
    if picture.trampoline is not None:
        return Trampoline(**vars(picture.trampoline))
    if picture.mechanisms is not None:
        return Mechanisms(**vars(picture.mechanisms))
    return answer.value


class Tee(io.StringIO):
    """Text that is written to two places."""

    def __init__(self, *places: TextIO) -> None:
        super().__init__()
        self.places = places

    def write(self, text: str) -> int:
        """Write ``text`` to both."""
        for place in self.places:
            place.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush both."""
        for place in self.places:
            place.flush()
