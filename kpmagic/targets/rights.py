# SPDX-License-Identifier: MIT
"""Run first on a target by its own Python: gets the rights a probe needs, or says why not.

What comes next on standard input is a line of Python again, read by the Python that has them.
"""

import os
import sys

PYTHON = "/usr/bin/python3"
NEXT = 'exec(open(0,"rb",0,closefd=False).readline())'
PARANOID = "/proc/sys/kernel/perf_event_paranoid"
# linux/capability.h
CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 1 << 21, 1 << 38, 1 << 39
MOST_PARANOID = 2  # Debian's 3 asks for CAP_SYS_ADMIN: kernel/events/core.c, Debian's patch


def capabilities() -> int:
    """Return this process's effective capabilities."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))


def suffice(has: int) -> bool:
    """Say whether these capabilities are enough without being root."""
    if has & CAP_SYS_ADMIN:
        return True
    if has & CAP_BPF and has & CAP_PERFMON:
        with open(PARANOID) as file:
            paranoid = int(file.read())
        if paranoid <= MOST_PARANOID:
            return True
        print(f"kpmagic: perf_event_paranoid is {paranoid} here: CAP_BPF and CAP_PERFMON "
              "are not enough", file=sys.stderr)  # fmt: skip
    return False


def main() -> None:
    """Go on as root, with capabilities that suffice, or through sudo."""
    if sys.version_info < (3, 9):  # noqa: UP036  # the target's Python is not the notebook's
        sys.exit("kpmagic: Python 3.9 or newer is needed, this is " + sys.version.split()[0])
    if os.geteuid() == 0 or suffice(capabilities()):
        return
    sys.stderr.flush()
    try:
        os.execvp("sudo", ["sudo", "-n", "--", PYTHON, "-I", "-S", "-c", NEXT])
    except OSError as error:
        sys.exit(f"kpmagic: sudo: {error.strerror}")


if __name__ == "__main__":
    main()
    exec(NEXT)
