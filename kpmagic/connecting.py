# SPDX-License-Identifier: MIT
"""A target's name and options → a connection to it."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from . import cache
from .cell.syntax import suggestion
from .channel.connection import Connection
from .errors import CellError, KpmagicError, TargetError
from .targets.base import Progress, Target
from .targets.qemu import processors

if TYPE_CHECKING:
    from .targets.kernels import Kernel

SANDBOX = "sandbox"
SANDBOX_OPTIONS = ("kernel", "memory", "cpus")
REPLAY = "replay"


def to_stderr(text: str) -> None:
    """Show progress to somebody who watches a terminal."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def connect(name: str = SANDBOX, *, progress: Progress | None = None, **options: Any) -> Connection:
    """Start a target and return the connection to it.

    ``sandbox`` takes ``kernel`` (``"6.1"`` or a path), ``memory`` (``"512M"``) and ``cpus``; its
    kernel is fetched when it is not in the cache. ``local`` is this machine's own kernel,
    ``ssh://user@host[:port]`` another's.
    ``replay:PATH`` is a recording, or a folder of them; ``speed`` is 1 for its own pace, without
    it nothing is waited for. Raises TargetError, NotPermitted, MissingDependency.
    """
    check_name(name)
    _check_options(name, options)
    with cache.room():
        connection = Connection(_target(name, progress or to_stderr, options))
    try:
        connection.wait_for_hello()
        if name.partition(":")[0] == REPLAY:
            return connection
        if name != SANDBOX:
            connection.check_kernel()
    except BaseException:
        connection.close()
        raise
    threading.Thread(target=_prepare, args=(connection,), daemon=True).start()
    return connection


def check_name(name: str) -> None:
    kind = name.partition(":")[0] if isinstance(name, str) else ""
    if kind == "ssh":
        from .targets.ssh import parse

        parse(name)
    elif kind != REPLAY and name not in (SANDBOX, "local"):
        raise TargetError(f"no target {name!r}",
                          hint="sandbox, local, ssh://user@host[:port], replay:FILE")  # fmt: skip


def _check_options(name: str, options: dict[str, Any]) -> None:
    for option in options:
        if name.partition(":")[0] == REPLAY and option == "speed":
            continue
        if name != SANDBOX:
            raise CellError(f"{name} takes no option {option!r}", hint="only the sandbox does")
        if option not in SANDBOX_OPTIONS:
            raise CellError(f"no option {option!r} of a sandbox",
                            hint=suggestion(option, SANDBOX_OPTIONS)
                            or f"it has {', '.join(SANDBOX_OPTIONS)}")  # fmt: skip
    if options.get("cpus") is not None:  # before a kernel is fetched for nothing
        processors(options["cpus"])


def _target(name: str, progress: Progress, options: dict[str, Any]) -> Target:
    if name == SANDBOX:
        return _sandbox(progress, options)
    if name == "local":
        from .targets.local import Local

        return Local()
    if name.partition(":")[0] == REPLAY:
        return _replay(name.partition(":")[2], options.get("speed"))
    from .targets.ssh import Ssh

    return Ssh(name, progress)


def _replay(path: str, speed: object) -> Target:
    from .targets.replay import FOLDER, Replay, parse_speed

    try:
        return Replay(path or FOLDER, parse_speed(speed))
    except ValueError as error:
        raise CellError(f"--speed {speed}: {error}") from None


def _sandbox(progress: Progress, options: dict[str, Any]) -> Target:
    from .targets import kernels
    from .targets.sandbox import Sandbox

    given = {key: value for key, value in options.items() if value is not None}
    # kernel=6.1 and memory=512 are read as they are written
    given |= {key: str(given[key]) for key in ("kernel", "memory") if key in given}
    version = given.setdefault("kernel", kernels.DEFAULT)
    if version in kernels.SUITES:
        kernels.fetch(version, progress)
    sandbox = Sandbox(progress=progress, **given)
    threading.Thread(target=_warm_up, args=(sandbox.kernel,), daemon=True).start()
    return sandbox


def _prepare(connection: Connection) -> None:
    """Gather facts before the first cell asks for them."""
    with contextlib.suppress(KpmagicError):  # whoever needs them meets the same error, and is told
        connection.facts()


def _warm_up(kernel: Kernel) -> None:
    """Start the compiler for a kernel that is still booting."""
    from .build import compiler_for
    from .kernel.kept import read_build_id
    from .targets.bzimage import section

    with contextlib.suppress(KpmagicError, OSError):  # as above
        notes = section(kernel.image.read_bytes(), ".notes")
        if kernel.btf is not None and notes is not None:
            compiler_for(kernel.btf, read_build_id(notes))
