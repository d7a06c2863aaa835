#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Build Binder's environment in a plain directory, and run a lesson in it under Binder's limits.

``sudo .venv/bin/python binder/rehearse.py FOLDER [NOTEBOOK]``: root only to make a control
group and to become an ordinary user. No docker: the packages of apt.txt are looked for on this
machine, all else (Python packages, postBuild, start) is done as repo2docker does it. Exit code 1
when the lesson fails; prints its time and peak memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMORY = 1 << 30
USER = 61_000  # belongs to nobody
LESSON = "notebooks/01-first-probe.ipynb"
# what Debian calls a package that Ubuntu has under another name
STAND_INS = {"linux-tools-common": "bpftool", "linux-tools-generic": "bpftool"}
STAND_INS |= {f"{name}-18": f"{name}-19" for name in ("clang", "libclang1")}
PASSED_ON = ("PATH", "LANG", "SSL_CERT_FILE", "PIP_CERT", "http_proxy", "https_proxy", "no_proxy")


def say(text: str) -> None:
    """Print what is done now."""
    print(f"binder: {text}", flush=True)


def missing_packages() -> list[str]:
    """Return what apt.txt names and this machine has neither under that name nor Debian's."""
    lines = (ROOT / "binder/apt.txt").read_text().split("\n")
    names = [line for line in lines if line and not line.startswith("#")]
    return [name for name in names if not (_installed(name) or _installed(STAND_INS.get(name)))]


def _installed(name: str | None) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name or ""]
    return subprocess.run(query, capture_output=True, text=True).stdout == "installed"


def python() -> str:
    """Return the Python that runtime.txt asks for, or the distribution's: any user can run it."""
    wanted = (ROOT / "binder/runtime.txt").read_text().strip().replace("-", "")
    found = Path("/usr/bin", wanted)
    if not found.exists():
        say(f"{found} is not here: the distribution's python3 stands in for it")
        found = Path("/usr/bin/python3")
    return str(found)


class Environment:
    """The folder that stands for Binder's image: ``home``, the user's, with the checkout in it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.checkout = self.home / "kpmagic"
        self.venv = folder / "venv"

    def build(self) -> None:
        """Do what repo2docker does with a commit. Raises CalledProcessError."""
        self.checkout.mkdir(parents=True)
        say("checking out HEAD")
        tree = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True,
                              check=True)  # fmt: skip
        subprocess.run(["tar", "-x", "-C", str(self.checkout)], input=tree.stdout, check=True)
        for path in (self.home, *self.home.rglob("*")):
            os.lchown(path, USER, USER)
        say("installing requirements.txt")
        subprocess.run([python(), "-m", "venv", "--without-pip", str(self.venv)], check=True)
        into = ["--python", str(self.venv / "bin/python")]
        subprocess.run([sys.executable, "-m", "pip", *into, "install", "-q", "-r",
                        "binder/requirements.txt"], cwd=self.checkout, check=True)  # fmt: skip
        say("running postBuild")
        subprocess.run(["binder/postBuild"], check=True, **self.as_user())

    def as_user(self, enter: Callable[[], None] = lambda: None) -> dict[str, object]:
        """Return how to start a program as the ordinary user, after ``enter``."""
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment["HOME"] = str(self.home)
        environment["PATH"] = f"{self.venv / 'bin'}:{environment['PATH']}"

        def become() -> None:
            enter()
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)

        return {"cwd": self.checkout, "env": environment, "preexec_fn": become}


class Limits:
    """A control group with Binder's memory and one processor; version 1 or 2, as there is."""

    def __init__(self) -> None:
        base = Path("/sys/fs/cgroup")
        self.v2 = (base / "cgroup.controllers").exists()
        self.group = (base if self.v2 else base / "memory") / f"kpmagic-binder-{os.getpid()}"
        self.group.mkdir()
        self.limit = "memory.max" if self.v2 else "memory.limit_in_bytes"
        (self.group / self.limit).write_text(str(MEMORY))
        swap = self.group / ("memory.swap.max" if self.v2 else "memory.memsw.limit_in_bytes")
        if swap.exists():
            swap.write_text("0" if self.v2 else str(MEMORY))

    def enter(self) -> None:
        """Put the process that calls this under the limits."""
        (self.group / "cgroup.procs").write_text(str(os.getpid()))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    @property
    def peak(self) -> int:
        """The most memory that was used at once, in bytes, files in the page cache included."""
        name = "memory.peak" if self.v2 else "memory.max_usage_in_bytes"
        return int((self.group / name).read_text())

    @property
    def anonymous(self) -> int:
        """The memory in use now that is not the page cache, in bytes."""
        name = "anon" if self.v2 else "total_rss"
        lines = (line.split() for line in (self.group / "memory.stat").read_text().splitlines())
        return next(int(value) for key, value in lines if key == name)

    def close(self) -> None:
        """Remove the group."""
        for _ in range(50):  # QEMU needs a moment to go
            with suppress(OSError):
                self.group.rmdir()
                return
            time.sleep(0.1)


def run_lesson(environment: Environment, notebook: str) -> int:
    """Run a lesson within the limits, print what it took, return its exit code."""
    limits = Limits()
    most, began = 0, time.monotonic()
    try:
        started = ["binder/start", "python", "notebooks/execute.py", notebook]
        with subprocess.Popen(started, **environment.as_user(limits.enter)) as process:
            while process.poll() is None:
                most = max(most, limits.anonymous)
                time.sleep(0.05)
        took = time.monotonic() - began
        say(f"{notebook}: exit code {process.returncode} after {took:.0f} s on one core, as user "
            f"{USER}; peak {limits.peak >> 20} MB of {MEMORY >> 20} with the page cache, "
            f"{most >> 20} MB without")  # fmt: skip
        return int(process.returncode != 0)
    finally:
        limits.close()


def main(folder: Path, notebook: str = LESSON) -> int:
    """Build and run."""
    if os.geteuid() != 0:
        sys.exit("binder: root is needed, to limit memory and to become an ordinary user")
    if missing := missing_packages():
        sys.exit(f"binder: missing here: sudo apt install {' '.join(missing)}")
    environment = Environment(folder.resolve())
    if not environment.checkout.exists():
        environment.build()
    return run_lesson(environment, notebook)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: sudo .venv/bin/python binder/rehearse.py FOLDER [NOTEBOOK]")
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
