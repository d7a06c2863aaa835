# SPDX-License-Identifier: MIT
"""Programs of the distribution: where they are, and how they are run to their end."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from kpmagic.errors import MissingDependency

# program → the Debian and Ubuntu package that has it
PACKAGES = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "dpkg": "dpkg",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
}

# an ordinary user's PATH often lacks these
SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find(program: str) -> str:
    """Return the program's path. Raises MissingDependency."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM))
    found = shutil.which(program, path=path)
    if found is None:
        package = PACKAGES[program]
        raise MissingDependency(
            f"{program!r} is not installed",
            hint=f"sudo apt-get install {package}",
        )
    return found


def bound(program: str) -> list[str]:
    """Return the beginning of a command that the kernel kills when its parent thread dies."""
    return [find("setpriv"), "--pdeathsig", "KILL", "--", find(program)]


def run(program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in a session of its own, with its messages in English, to its end."""
    return subprocess.run(
        [*bound(program), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | {"LC_ALL": "C"},
        start_new_session=True,
        check=False,
    )
