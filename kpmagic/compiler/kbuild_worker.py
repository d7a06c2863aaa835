# SPDX-License-Identifier: MIT
"""Confines itself, then builds: started as ``python -I -m kpmagic.compiler.kbuild_worker``.

Arguments: the notebook's process id, the folder of the module, which alone can be written, then
folders that can be read. Standard input: JSON, a list of steps, each a folder, a command line and
an environment. When the notebook dies, so do this process and all it has started.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys

from kpmagic.compiler.confine import confine, safe

MEMORY = 4 << 30
CPU_SECONDS = 120
UNCONFINED = 77  # exit code: root, and nothing keeps the compiler from reading root's files


def main(arguments: list[str]) -> int:
    """Take the steps; return the exit code of the first that fails, UNCONFINED, or 0."""
    steps = json.load(sys.stdin)
    parent, work, *readable = arguments
    notebook = os.pidfd_open(int(parent))
    if os.getppid() != int(parent):
        return 1  # it died before it could be watched
    confined = confine(
        readable, memory=MEMORY, cpu_seconds=CPU_SECONDS, writable=[work, "/dev/null"]
    )
    if not safe(confined):
        return UNCONFINED
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for folder, command, environment in steps:
        os.chdir(folder)
        pid = os.posix_spawn(command[0], command, environment)
        _wait(pid, notebook)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            return code if code > 0 else 128 - code
    return 0


def _wait(pid: int, notebook: int) -> None:
    """Wait until a child ends; with the notebook all of this process's group end."""
    watch, ended = select.poll(), os.pidfd_open(pid)
    watch.register(ended, select.POLLIN)
    watch.register(notebook, select.POLLIN)
    if all(fd != ended for fd, _ in watch.poll()):
        os.killpg(0, signal.SIGKILL)
    os.close(ended)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
