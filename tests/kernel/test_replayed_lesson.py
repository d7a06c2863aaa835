# SPDX-License-Identifier: MIT
"""A lesson recorded on a kernel, and run again cell for cell where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CELLS = [
    "%load_ext kpmagic",
    "%%kprobe do_fork -o forks --follow --while 'for i in 1 2 3; do /bin/true; done'\n"
    "emit(flags = args->flags);",
    "print(len(forks.df()), forks.stats, forks.workload.exit_code)",
    "%%kretprobe vfs_read -o reads --follow --while 'cat /etc/hostname; exit 3'\nhist(retval);",
    "print(reads.aggregates, reads.workload)",
    "%%kprobe vfs_raed --for 1s\nemit(count);",  # wrong turns a student takes
    "%%kprobe vfs_read --for 1s\nemit(file->f_pth);",
    "%kprobe vfs_read -n",
    "%kp run 'echo out; printf \"a\\tb\\n\"; exit 4'",
    "%kp sig vfs_read",
    "%kp struct path",
    "%kp symbols 'vfs_rea*'",
    "%kp sig no_such_function",
    "%%kprobe vfs_read --comm kpmagic --for 300ms\nemit(count);",
    "forks.plot('rate').data[0].type",
]

SCRIPT = """
import io, json, sys
from contextlib import redirect_stdout
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
shell.colors = "nocolor"
seen = []
for cell in json.loads(sys.argv[1]):
    with capture_output() as out:
        done = shell.run_cell(cell)
    error = done.error_in_exec or done.error_before_exec
    seen.append([out.stdout, repr(done.result), type(error).__name__, str(error)])
print(json.dumps(seen))
"""


def lesson(folder: Path, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(CELLS)], cwd=folder, timeout=280, check=True,
        env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_cell_for_cell(fetched_kernel: str, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    live = lesson(tmp_path, KPMAGIC_RECORD=str(recordings))
    assert [each[2] for each in live] == [
        "NoneType", "NoneType", "NoneType", "NoneType", "NoneType", "SymbolError", "BuildError",
        "NoneType", "NoneType", "NoneType", "NoneType", "NoneType", "SymbolError", "NoneType",
        "NoneType"], live  # fmt: skip
    assert sorted(each.name for each in recordings.iterdir()) == [
        "001-kernel_clone.parquet", "002-vfs_read.parquet", "003-vfs_read.parquet",
        "004-vfs_read.parquet",
        "answers.json"]  # fmt: skip
    nowhere = tmp_path / "no programs"
    nowhere.mkdir()
    played = lesson(tmp_path, KPMAGIC_TARGET="replay", PATH=str(nowhere),
                    KPMAGIC_CACHE=str(tmp_path / "cache"))  # fmt: skip
    for cell, one, other in zip(CELLS, live, played, strict=True):
        there = [text.replace("on replay ", "on sandbox ").expandtabs() for text in other]
        here = [text.expandtabs() for text in one]
        here[0] = "".join(line for line in here[0].splitlines(True) if not line.endswith(" …\n"))
        assert there == here, cell
    assert not (tmp_path / "cache" / "kernels").exists()
