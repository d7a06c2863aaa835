# SPDX-License-Identifier: MIT
"""``python -m kpmagic`` on the sandbox."""

from __future__ import annotations

import io
import subprocess
import sys

import pandas as pd

FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "kpmagic", *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, check=False)  # fmt: skip


def test_a_probe_as_csv(fetched_kernel: str) -> None:
    done = call("probe", "do_fork", "--body", "emit(flags = args->flags);", "--while", FORKS,
                "--follow", "--kernel", fetched_kernel, "--format", "csv")  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(io.StringIO(done.stdout), parse_dates=["time"])
    assert list(table.columns) == ["time", "cpu", "pid", "tid", "comm", "flags"]
    assert len(table) == 23


def test_an_error_is_told_on_stderr(fetched_kernel: str) -> None:
    done = call("probe", "vfs_read", "--body", "emit(file->f_paht);", "--for", "1s",
                "--kernel", fetched_kernel)  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "BuildError: no member named 'f_paht'" in done.stderr
    assert "--body:1:12" in done.stderr


def test_a_command_and_its_exit_code(fetched_kernel: str) -> None:
    done = call("run", "--kernel", fetched_kernel, "echo out; echo err >&2; exit 4")
    assert done.returncode == 4
    assert done.stdout == "out\n"
    assert done.stderr.endswith("err\n")
