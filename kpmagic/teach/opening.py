# SPDX-License-Identifier: MIT
"""The first cell of a lesson: is everything here that its cells need, and if not, what now."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from ..cell.syntax import parse_spec
from ..channel.connection import Connection
from ..compiler import toolchain
from ..connecting import REPLAY, SANDBOX
from ..errors import CellError, MissingDependency, SymbolError, TargetError, TargetLost
from ..gathering import facts_for
from ..model import Options, Probe
from ..resolve import resolve
from ..session import session
from ..targets import commands
from ..view import out_of_order

RECORDINGS = "recordings"
NUMBER = re.compile(r"\d\d")
# what a sandbox takes of the machine; the rest is said by the target that is chosen
NEEDED = tuple(program for program in commands.PACKAGES if program != "ssh")
REAL = "all of this runs on a real kernel with: %kp target sandbox"


def lesson(number: str, *places: str) -> None:
    """Open lesson ``number`` (``"03"``): say what it runs on, or what is missing.

    ``places`` are what its cells probe. It runs on the target that is chosen already, else in the
    sandbox, and where that cannot start, from its recording: with KPMAGIC_TARGET=replay from
    there alone. Raises SymbolError when the kernel lacks one of ``places``.
    """
    if not isinstance(number, str) or not NUMBER.fullmatch(number):
        raise CellError(f"no lesson {number!r}", hint="a lesson has two digits: lesson(\"03\")")
    out_of_order.watch(Path.cwd(), number)
    if session.default is None and session.name.partition(":")[0] == REPLAY:
        _play(number)
    elif session.default is None and session.name == SANDBOX:
        _sandbox(number)
    connection = session.connection()
    if "no_kernel" in connection.hello:
        print(f"lesson {number}, from a recording made on {connection.release}: cells as they are "
              "written show what they showed then")  # fmt: skip
        return
    _check_places(number, places, connection)
    print(f"lesson {number}, on {connection.name} {connection.release}")


def recording(number: str, name: str) -> str:
    """Return the target that plays a lesson: ``name`` may be a replay of another folder."""
    base = Path(name.partition(":")[2] or RECORDINGS)
    return f"{REPLAY}:{base / number if (base / number).is_dir() else base}"


def _play(number: str) -> None:
    session.use(recording(number, session.name))


def _sandbox(number: str) -> None:
    """Start the sandbox, or say why it cannot be and play the recording instead."""
    missing = [*_missing(commands.find, NEEDED), *_missing(lambda _: toolchain.find_clang(), [""])]
    if missing:
        _instead(number, "\n".join(dict.fromkeys(f"{each.message}: {each.hint}" for each in missing
                                                 )))  # fmt: skip
        return
    try:
        session.connection()
    except TargetLost:
        raise
    except (TargetError, MissingDependency) as error:
        _instead(number, str(error))


def _missing(find: Callable[[str], object], names: Iterable[str]) -> list[MissingDependency]:
    found = []
    for name in names:
        try:
            find(name)
        except MissingDependency as error:
            found.append(error)
    return found


def _instead(number: str, why: str) -> None:
    target = recording(number, REPLAY)
    if not Path(target.partition(":")[2]).is_dir():
        raise TargetError(f"no sandbox can be started here\n{why}",
                          hint=f"there is no {RECORDINGS} folder beside this notebook either; "
                               "python -m kpmagic doctor says what is missing")  # fmt: skip
    print(f"no sandbox can be started here:\n{why}\nuntil then, the recording. {REAL}\n")
    session.use(target)


def _check_places(number: str, places: Iterable[str], connection: Connection) -> None:
    missing = []
    for place in places:
        asked = Probe("kprobe", (parse_spec(place),), None, Options())
        try:
            known = connection.facts(session.progress)
            resolve(asked, facts_for(asked, known, connection.read, session.progress))
        except SymbolError as error:
            missing.append(error.message)
    if missing:
        raise SymbolError(
            f"lesson {number} needs what this kernel lacks: {'; '.join(missing)}",
            hint="%kp target sandbox --kernel 6.1 has it: then this cell again\n"
            f"%kp target {recording(number, REPLAY)} shows the lesson without a kernel",
        )
