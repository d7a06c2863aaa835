# SPDX-License-Identifier: MIT
"""No room on the disk, no memory: told as an error, and it works again when there is some."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpmagic
from kpmagic import build, cache
from kpmagic.channel.connection import Connection
from kpmagic.errors import KpmagicError
from kpmagic.targets.sandbox import Sandbox

pytestmark = pytest.mark.kernel

FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"

# a notebook that may not have much more memory than it has, and gets a flood
NOTEBOOK = """
import resource, sys
import kpmagic
connection = kpmagic.connect("sandbox", kernel=sys.argv[1])
connection.facts()
run = kpmagic.probe("__x64_sys_getsid", "emit(text = comm);", target=connection, duration="1s")
run.df()
data = next(line for line in open("/proc/self/status") if line.startswith("VmData:"))
limit = (int(data.split()[1]) << 10) + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
flood = "import os\\nfor _ in range(2000000): os.getsid(0)"
run = kpmagic.probe("__x64_sys_getsid", "emit(text = comm);", target=connection, max_events=2000000,
                    command=f"/usr/bin/python3 -I -S -c '{flood}'")
resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
print(run.stopped_by, len(run.df()) > 0, connection.failure)
"""


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache with 8 MB of room; the kernels are in the real one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    kernels = cache.directory("kernels")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", disk],
                          check=False)  # fmt: skip
    if done.returncode:
        pytest.skip("needs the right to mount")
    (disk / "kernels").symlink_to(kernels)
    monkeypatch.setenv("KPMAGIC_CACHE", str(disk))
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_the_disk_is_full_while_building(
    fetched_kernel: str, small_disk: Path, choice: random.Random
) -> None:
    (small_disk / "filling").write_bytes(bytes(choice.randrange(4 << 20)))
    with Connection(Sandbox(fetched_kernel, workdir=Path("/"), saved=False)) as connection:
        with pytest.raises(KpmagicError) as caught:
            kpmagic.probe("kernel_clone", "emit(pid);", target=connection, command=FORKS)
        assert "No space left on device" in str(caught.value)
        assert str(small_disk) in str(caught.value)
        subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
        run = kpmagic.probe("kernel_clone", "emit(pid);", target=connection, command=FORKS,
                            follow=True)  # fmt: skip
        assert (run.stats.hits, len(run.df())) == (23, 23)


def test_the_cache_is_removed_by_another(
    fetched_kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernels").symlink_to(cache.directory("kernels"))
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    build.close_compilers()  # those of other tests know another cache
    with Connection(Sandbox(fetched_kernel, workdir=Path("/"), saved=False)) as connection:
        for number in range(2):
            body = f"emit(pid, number = {number});"
            run = kpmagic.probe("kernel_clone", body, target=connection, command=FORKS,
                                follow=True)  # fmt: skip
            assert (run.stats.hits, len(run.df())) == (23, 23)
            for name in ("headers", "facts"):
                shutil.rmtree(tmp_path / name)


def test_the_disk_is_full_while_recording(
    fetched_kernel: str, small_disk: Path, choice: random.Random
) -> None:
    """The recording's disk is full at a random moment: its rows are kept, the next is whole."""
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    disk = small_disk.parent / "recordings"
    disk.mkdir()
    size = f"size={choice.randrange(200, 2000)}k,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", disk], check=True)
    flood = "import os\nfor _ in range(100000): os.getsid(0)"
    command = f"/usr/bin/python3 -I -S -c '{flood}'"
    try:
        with Connection(Sandbox(fetched_kernel, workdir=Path("/"), saved=False)) as connection:
            file = str(disk / "run.parquet")
            run = kpmagic.probe("__x64_sys_getsid", "emit(a = ts, b = pid, text = comm);",
                                target=connection, command=command, save=file)  # fmt: skip
            assert run.stopped_by == "disk-full"
            assert run.stats.balanced
            assert len(kpmagic.load(file).df()) == len(run.df()) == run.stats.rows
            subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
            again = kpmagic.probe("kernel_clone", "emit(pid);", target=connection, command=FORKS,
                                  follow=True, save=str(disk / "again.parquet"))  # fmt: skip
            assert (again.stats.hits, len(again.df())) == (23, 23)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_the_notebook_runs_out_of_memory(fetched_kernel: str, choice: random.Random) -> None:
    room = str(choice.randrange(4, 24) << 20)
    arguments = [sys.executable, "-c", NOTEBOOK, fetched_kernel, room]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout.split(maxsplit=2) == ["target-lost", "True", "out of memory\n"], done.stderr
