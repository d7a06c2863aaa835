# SPDX-License-Identifier: MIT
"""The workload that is timed, on the target: made of workload.c, sent there, taken away again."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..cache import directory
from ..channel.connection import Connection
from ..compiler.kbuild import find_gcc
from ..errors import BuildError, CellError, TargetError
from ..whole import write_private

SOURCE = Path(__file__).with_name("workload.c")
FLAGS = ("-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-builtin", "-s",
         "-Wl,--build-id=none")  # fmt: skip
# what the source calls each kind, and what is said of it; the first that calls a function is taken
KINDS = {
    "read": "read() of a byte of /dev/zero",
    "write": "write() of a byte to /dev/null",
    "getppid": "getppid()",
    "lseek": "lseek() of /dev/zero",
    "stat": "newfstatat() of /dev/null",
    "open": "openat() and close() of /dev/null",
}
PIECE = 50  # calls that are timed together
TRIED = 500  # calls that tell whether a kind calls a function: nobody else makes so many meanwhile
HitsOf = Callable[[Callable[[], object]], int]
"""Calls a function, and returns how often the probed one was called meanwhile."""
UNPACK = (
    "d=$(mktemp -d /tmp/kpmagic.XXXXXX) && echo {text} | base64 -d | gzip -d >$d/workload && "
    "chmod 700 $d/workload && echo $d"
)


def built() -> bytes:
    """Return the program. Raises MissingDependency, BuildError."""
    gcc, version = find_gcc("")
    words = (SOURCE.read_text(), version, *FLAGS)
    kept = directory("workloads") / hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
    with suppress(FileNotFoundError):  # another notebook may empty the cache at any time
        return kept.read_bytes()
    with tempfile.TemporaryDirectory(prefix="kpmagic-") as folder:
        made = Path(folder, "workload")
        done = subprocess.run([gcc, *FLAGS, "-o", str(made), str(SOURCE)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.returncode:
            raise BuildError(
                f"gcc {version} did not compile the workload: {done.stderr.strip()[:500]}",
                hint="please report this",
            )
        program = made.read_bytes()
    write_private(kept, program)
    return program


def said(connection: Connection, command: str) -> str:
    """Run a command on the target and return what it prints. Raises TargetError if it fails."""
    pieces: dict[str, str] = {"stdout": "", "stderr": ""}

    def hear(stream: str, text: str) -> None:
        pieces[stream] += text

    code = connection.run(command, hear)
    if code:
        words = (pieces["stderr"].strip() or f"exit code {code}").splitlines()[-1]
        raise TargetError(f"the workload failed on {connection.name}: {words}",
                          hint="it needs sh, base64, gzip and room in /tmp there")  # fmt: skip
    return pieces["stdout"]


class Workload:
    """The program on the target; a context manager, which removes it at its end.

    ``command`` is run and timed as a whole where it is given, else calls of one ``kind``.
    """

    def __init__(self, connection: Connection, calls: int, command: str = "") -> None:
        """Send it there. Raises TargetError, MissingDependency, BuildError."""
        self.connection = connection
        self.calls = calls
        self.command = command
        self.kind = ""
        text = base64.b64encode(gzip.compress(built(), 9, mtime=0)).decode()
        self._folder = said(connection, UNPACK.format(text=text)).strip()

    def __enter__(self) -> Workload:
        return self

    def __exit__(self, *_: object) -> None:
        if self.connection.alive:
            said(self.connection, f"rm -rf {shlex.quote(self._folder)}")

    @property
    def says(self) -> str:
        """What it does, for people."""
        return self.command or KINDS[self.kind]

    def run(self) -> float:
        """Run it once; return the ns of one call, or of the whole command. Raises TargetError."""
        if self.command:
            return float(self._run("while", self.command))
        return self._run(self.kind, str(self.calls)) / PIECE

    def _run(self, *words: str) -> int:
        text = said(self.connection, shlex.join([f"{self._folder}/workload", *words]))
        last = (text.split() or [""])[-1]
        if not last.isdigit():
            raise TargetError(f"the workload said {last[:40]!r} where its time should be",
                              hint="--while 'COMMAND >/dev/null' keeps a command quiet, also what "
                              "it leaves behind")  # fmt: skip
        return int(last)

    def choose(self, hits_of: HitsOf, symbol: str) -> None:
        """Take the kind of call that calls the probed function. Raises CellError."""
        if self.command:
            return
        for kind in KINDS:
            self.kind = kind
            if hits_of(partial(self._run, kind, str(TRIED))) >= TRIED:
                return
        raise CellError(f"no workload of kpmagic's calls {symbol!r}",
                        hint="--while 'COMMAND': a command that does, always the same number "
                        "of times")  # fmt: skip
