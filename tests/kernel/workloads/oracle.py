# SPDX-License-Identifier: MIT
"""``oracle.py FUNCTION N``: have a function of the kernel called N times on each processor.

No two of the workloads call each other's function.
"""

import os
import resource
import signal
import socket
import sys
import tempfile


def there_and_back(make, undo, name="name"):
    """Make something in the file system, and remove it."""
    make(name)
    undo(name)


def on_a_file(act):
    """Do something with a file that is open."""
    with open("file", "w") as file:
        act(file.fileno())


def in_a_folder(make):
    """Make something in a folder that is open."""

    def act(name):
        folder = os.open(".", os.O_RDONLY)
        make(name, dir_fd=folder)
        os.close(folder)

    return act


CALLS = {
    "__x64_sys_getsid": lambda: os.getsid(0),
    "__x64_sys_getpgid": lambda: os.getpgid(0),
    "__x64_sys_umask": lambda: os.umask(0o022),
    "__x64_sys_getpriority": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "__x64_sys_times": os.times,
    "__x64_sys_getrusage": lambda: resource.getrusage(resource.RUSAGE_SELF),
    "__x64_sys_getresuid": os.getresuid,
    "__x64_sys_getresgid": os.getresgid,
    "__x64_sys_sched_getscheduler": lambda: os.sched_getscheduler(0),
    "__x64_sys_sched_getparam": lambda: os.sched_getparam(0),
    "__x64_sys_memfd_create": lambda: os.close(os.memfd_create("memory")),
    "__x64_sys_eventfd2": lambda: os.close(os.eventfd(0)),
    "__x64_sys_getitimer": lambda: signal.getitimer(signal.ITIMER_REAL),
    "__x64_sys_alarm": lambda: signal.alarm(0),
    "__x64_sys_sethostname": lambda: socket.sethostname("oracle"),
    "__x64_sys_mkdirat": lambda: there_and_back(in_a_folder(os.mkdir), os.rmdir),
    "__x64_sys_ftruncate": lambda: on_a_file(lambda fd: os.ftruncate(fd, 7)),
    "vfs_symlink": lambda: there_and_back(lambda name: os.symlink("to", name), os.unlink),
    "vfs_link": lambda: there_and_back(lambda name: os.link("target", name), os.unlink),
    "vfs_fallocate": lambda: on_a_file(lambda fd: os.posix_fallocate(fd, 0, 4096)),
}

if __name__ == "__main__":
    call, count = CALLS[sys.argv[1]], int(sys.argv[2])
    children = []
    for cpu in os.sched_getaffinity(0):
        if (child := os.fork()) == 0:
            os.sched_setaffinity(0, {cpu})
            os.chdir(tempfile.mkdtemp(dir="/tmp"))
            open("target", "w").close()
            for _ in range(count):
                call()
            os._exit(0)
        children.append(child)
    sys.exit(any(os.waitpid(child, 0)[1] for child in children))
