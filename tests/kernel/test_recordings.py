# SPDX-License-Identifier: MIT
"""Real runs into files, back, and played again."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from saved import same

import kpmagic
from kpmagic.channel.connection import Connection

DD = "dd if=/dev/zero of=/dev/null bs=10 count=23 2>/dev/null"
CELLS: dict[str, tuple[str, str, str | None, dict[str, Any]]] = {
    "a kprobe": ("probe", "do_fork", "emit(flags = args->flags);",
                 {"command": "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"}),
    "a histogram at return": ("retprobe", "vfs_read",
                              "hist(latency, by = comm); sum(retval, by = comm); emit(retval);",
                              {"command": DD, "where": "count == 10"}),
    "rows of several kinds": ("probe", "vfs_read",
                              "if (count == 10) emit(a = count, name = str(file->f_path.dentry"
                              "->d_name.name)); else emit(a = (s64)-1, b = count > 100);",
                              {"command": DD}),
    "the line form": ("probe", "vfs_read", None, {"command": DD}),
    "losses": ("probe", "vfs_read", "emit(count, pos);",
               {"command": "dd if=/dev/zero of=/dev/null bs=1 count=40000 2>/dev/null",
                "buffer": "16K"}),
    "stacks": ("probe", "vfs_read", "count(by = kstack()); emit(kstack());", {"command": DD}),
    "nothing at all": ("probe", "vfs_read", "emit(count);",
                       {"command": "echo out; echo err >&2; exit 3", "where": "count == 12345"}),
    "no emit": ("probe", "vfs_read", "lhist(count, 0, 100, 10);", {"command": DD}),
    "a wildcard": ("probe", "vfs_re*", "emit(func);", {"command": DD}),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_saved_loaded_and_played(name: str, sandbox: Connection, tmp_path: Path) -> None:
    way, symbol, body, options = CELLS[name]
    ask = getattr(kpmagic, way)
    run = ask(symbol, body, target=sandbox, follow=True, **options)
    path = run.save(tmp_path / "run.parquet")
    loaded = kpmagic.load(path)
    same(run, loaded)
    assert loaded.plot().to_json() == run.plot().to_json() if len(run.df()) > 1 else True
    with kpmagic.connect(f"replay:{path}") as replay:
        played = ask(symbol, body, target=replay, follow=True, **options)
        assert f"on replay {sandbox.release}" in str(played)
        head = f"on replay {sandbox.release}"
        assert str(played).replace(head, f"on sandbox {sandbox.release}") == str(run)
        kept = ("target", "started", "build_seconds", "load_seconds", "attach_seconds",
                "start_seconds")  # fmt: skip
        played.info |= {each: run.info[each] for each in kept}
        same(run, played)


def test_recorded_to_a_file_while_it_runs(sandbox: Connection, tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    run = kpmagic.probe("vfs_read", "emit(count); sum(count);", target=sandbox, follow=True,
                        command="dd if=/dev/zero of=/dev/null bs=10 count=10007 2>/dev/null",
                        where="count == 10", save=str(path))  # fmt: skip
    assert len(run.df()) == 10007
    same(run, kpmagic.load(path))
    assert os.listdir(tmp_path) == ["run.parquet"]
    assert pd.read_parquet(path)["count"].sum() == 100070  # any reader of Parquet will do


def test_stacks_in_a_file_have_the_names_of_programs_there(
    sandbox: Connection, tmp_path: Path
) -> None:
    run = kpmagic.probe("__x64_sys_getsid", "emit(ustack());", target=sandbox, follow=True,
                        command="gcc -O0 -o /tmp/kept workloads/deep.c && /tmp/kept 23",
                        save=str(tmp_path / "run.parquet"))  # fmt: skip
    found = kpmagic.load(tmp_path / "run.parquet").df()["ustack"]
    assert found.map(lambda names: list(names[:3]) == ["innermost", "middle", "main"]).sum() == 23
    assert run.df()["ustack"].map(list).tolist() == found.map(list).tolist()


def test_a_full_disk_ends_the_run_and_the_target_goes_on(
    sandbox: Connection, tmp_path: Path
) -> None:
    path = tmp_path / "run.parquet"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
        run = kpmagic.probe("vfs_read", "emit(count, pos);", target=sandbox, follow=True,
                            command="dd if=/dev/zero of=/dev/null bs=10", duration=None,
                            max_time="60s", save=str(path))  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run.stopped_by == "disk-full"
    assert run.workload is not None
    assert run.workload.exit_code == 137  # killed with its probe, as a shell says it
    assert "could not be written any further" in str(run)
    assert 0 < len(run.df()) == run.stats.rows < run.stats.hits
    assert run.stats.balanced
    loaded = kpmagic.load(path)
    assert loaded.df().equals(run.df())
    assert sandbox.run("true") == 0
