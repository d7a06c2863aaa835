# SPDX-License-Identifier: MIT
"""Stands between notebook and QEMU, so that neither leaves the other's remains.

Run as ``python -I -S warden.py NOTEBOOK FDS COMMAND…``: NOTEBOOK is the notebook's process id,
FDS the file descriptors QEMU inherits (``5,6``). Standard library only, one thread.

* standard input closes or speaks, or the notebook dies: QEMU is killed
* QEMU ends: so does the warden
* the warden dies: the kernel kills QEMU (COMMAND begins with ``setpriv --pdeathsig KILL``)
"""

from __future__ import annotations

import os
import select
import signal
import sys


def main(arguments: list[str]) -> int:
    """Run COMMAND until it ends or must end; return its exit status."""
    notebook, inherited, *command = arguments
    watch = select.poll()
    watch.register(0)
    watch.register(os.pidfd_open(int(notebook)), select.POLLIN)
    if os.getppid() != int(notebook):
        return 1  # it died before it could be watched
    qemu = os.posix_spawn(command[0], command, os.environ)
    for fd in inherited.split(","):
        os.close(int(fd))  # or the notebook would not see QEMU hang up
    ended = os.pidfd_open(qemu)
    watch.register(ended, select.POLLIN)
    if all(fd != ended for fd, _ in watch.poll()):
        os.kill(qemu, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(qemu, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
