# SPDX-License-Identifier: MIT
"""The switch of the kernel's optimiser of kprobes, held at one position while runs need it there.

``sysctl debug.kprobes-optimization`` is for the whole system: at 0 no kprobe is a jump. It is put
back when the last run that holds it ends; when the agent is killed, by a shell that waits for
just that; and when both are, by the next agent.
"""

from __future__ import annotations

import contextlib
import glob
import os

from kpmagic.agent.identity import identity, is_alive
from kpmagic.agent.refusal import Refused, refused_os

SWITCH = "/proc/sys/debug/kprobes-optimization"
NOTES = "/run/kpmagic-optimiser"  # a file for each agent that has moved it: where it was
# A line means that it has been put back already; the end of the pipe, that the agent is gone.
GUARD = 'read -r _ || { printf %s "$1" > "$2"; rm -f "$3"; }'
NOT_THERE = "this kernel has no optimiser of kprobes (CONFIG_OPTPROBES)"


class Held:
    """What this agent has done to the switch; ``runs`` need it at ``wanted``."""

    def __init__(self) -> None:
        self.runs: set[int] = set()
        self.wanted = ""
        self._before: str | None = None
        self._guard: tuple[int, int] | None = None  # its process, and the pipe it waits at

    def hold(self, run: int, wanted: str) -> None:
        """Put the switch to ``0`` or ``1`` while ``run`` goes on. Raises Refused."""
        if self.runs and self.wanted != wanted:
            raise Refused("attach", "another run needs the optimiser of kprobes the other way "
                          "round: one asks for int3, one for jump")  # fmt: skip
        now = read()
        if now is None:
            if wanted == "1":
                raise Refused("attach", NOT_THERE)
            return  # there are no jumps
        if now != wanted:
            self._move(now, wanted)
        self.wanted = wanted
        self.runs.add(run)

    def _move(self, before: str, wanted: str) -> None:
        if self._guard is None:  # else somebody else has moved it back meanwhile
            self._remember(before)
        try:
            write(wanted)
        except OSError as error:
            if not self.runs:
                self._put_back()
            raise Refused("permission", f"{SWITCH}: {error.strerror}", errno=error.errno) from None

    def _remember(self, before: str) -> None:
        """Let others know where it was, who are there when this process is not."""
        note = f"{NOTES}/{identity()}"
        try:
            os.makedirs(NOTES, mode=0o700, exist_ok=True)
            with open(note, "w", encoding="ascii") as file:
                file.write(before)
            self._guard = _spawn_guard(before, note)
        except OSError as error:
            self._put_back()
            raise refused_os(error) from None
        self._before = before

    def release(self, run: int) -> None:
        """``run`` is over: put the switch back if no other holds it."""
        self.runs.discard(run)
        if not self.runs and self._before is not None:
            with contextlib.suppress(OSError):
                write(self._before)
            self._put_back()

    def _put_back(self) -> None:
        self._before = None
        with contextlib.suppress(OSError):
            os.unlink(f"{NOTES}/{identity()}")
        if self._guard is not None:
            pid, pipe = self._guard
            with contextlib.suppress(OSError):
                os.write(pipe, b"\n")
            os.close(pipe)
            os.waitpid(pid, 0)
            self._guard = None


held = Held()


def position(mechanism: str, is_module: bool) -> str | None:
    """Return where the switch must be for ``mechanism``; None where that does not depend on it.

    A module's probe that shall stay an int3 has a post-handler, which no jump can have.
    """
    if mechanism == "jump":
        return "1"
    return "0" if mechanism == "int3" and not is_module else None


def read() -> str | None:
    """Return where the switch is, ``0`` or ``1``; None where there is none."""
    try:
        with open(SWITCH, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def write(position: str) -> None:
    """Move the switch. The kernel waits until every jump is there, or gone. Raises OSError."""
    with open(SWITCH, "w", encoding="ascii") as file:
        file.write(position)


def _spawn_guard(before: str, note: str) -> tuple[int, int]:
    theirs, ours = os.pipe()
    try:
        pid = os.posix_spawn(
            "/bin/sh",
            ["/bin/sh", "-c", GUARD, "kpmagic-guard", before, SWITCH, note],
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 0)],
            setsid=True,
        )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return pid, ours


def sweep() -> list[str]:
    """Put back what dead agents have left moved; return what that was, for people."""
    done = []
    for note in glob.glob(f"{NOTES}/*"):
        pid, start, *_ = [*os.path.basename(note).split("."), ""]
        if is_alive(pid, start):
            continue
        with contextlib.suppress(OSError):
            with open(note, encoding="ascii") as file:
                before = file.read().strip()
            if before in ("0", "1"):
                write(before)
                done.append(f"debug.kprobes-optimization={before}")
            os.unlink(note)
    return done
