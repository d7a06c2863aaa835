# SPDX-License-Identifier: MIT
"""What an agent that was killed could not undo: named after its process, undone by the next one.

Probes need none of this: they are gone with the process. Cgroups, modules,
switches and events of tracefs stay.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os

from kpmagic.agent import events, kmod, optimiser
from kpmagic.agent.cgroup import PREFIX, Group, mount
from kpmagic.agent.identity import identity, is_alive
from kpmagic.agent.refusal import Refused

_staying: set[str] = set()  # modules of this agent's that would not go
NOTES = "/run/kpmagic-agents"  # a file for each agent that has loaded modules: their names


def sweep() -> tuple[list[str], list[str]]:
    """Undo what dead agents have left; return what that was, and what stays, for people."""
    removed: list[str] = []
    kept: list[str] = []
    _cgroups(removed, kept)
    _modules(removed, kept)
    return [*removed, *optimiser.sweep(), *events.sweep()], kept


def note_module(name: str) -> None:
    """Remember, for whoever comes after us, that a module of ours is loaded."""
    _staying.discard(name)
    os.makedirs(NOTES, mode=0o700, exist_ok=True)
    _write(_own(), [*_names(_own()), name])


def forget_module(name: str) -> None:
    """It has been unloaded."""
    _write(_own(), [each for each in _names(_own()) if each != name])


def module_is_over(name: str) -> None:
    """Nobody needs it any more: forget it, or keep that it has not let itself be unloaded."""
    if kmod.loaded(name) is None:
        forget_module(name)
    else:
        _staying.add(name)


def staying() -> list[tuple[str, str]]:
    """Return the modules that nobody needs any more and that are still loaded, each with why.

    They are this agent's, and those of agents that are dead.
    """
    names = set(_staying)
    for path in glob.glob(f"{NOTES}/*"):
        pid, start, *_ = [*os.path.basename(path).split("."), ""]
        if not is_alive(pid, start):
            names.update(_names(path))
    return [(name, why) for name in sorted(names) if (why := kmod.why_it_stays(name))]


def _cgroups(removed: list[str], kept: list[str]) -> None:
    try:
        paths = glob.glob(f"{glob.escape(mount())}/{PREFIX}.*")
    except Refused:
        return
    for path in paths:
        pid, start, *_ = [*os.path.basename(path).split(".")[1:], "", ""]
        if is_alive(pid, start):
            continue
        try:
            Group(path).remove()
        except OSError as error:  # something in it does not die: the next one tries again
            kept.append(f"cgroup {path}: {error.strerror}")
        else:
            removed.append(f"cgroup {path}")


def _modules(removed: list[str], kept: list[str]) -> None:
    for path in glob.glob(f"{NOTES}/*"):
        pid, start, *_ = [*os.path.basename(path).split("."), ""]
        if is_alive(pid, start):
            continue
        in_use = []
        for name in _names(path):
            if kmod.loaded(name) is None:
                continue
            try:
                kmod.remove(name)
            except OSError as error:
                if error.errno != errno.ENOENT:  # else another agent's sweep has
                    in_use.append(name)
                    kept.append(f"module {name}: {error.strerror}")
                    continue
            removed.append(f"module {name}")
        _write(path, in_use)


def _own() -> str:
    return f"{NOTES}/{identity()}"


def _names(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def _write(path: str, names: list[str]) -> None:
    """Keep the names, or remove the file when there is none."""
    if names:
        with open(path, "w", encoding="ascii") as file:
            file.write("\n".join(names))
    else:
        with contextlib.suppress(FileNotFoundError):  # another agent's sweep was quicker
            os.unlink(path)
