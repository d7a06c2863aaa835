# SPDX-License-Identifier: MIT
"""When the agent dies, so do the tracers it has started, with their probes, and its modules go."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import CLASSIC

import kpmagic
from kpmagic import build
from kpmagic.cell.script import script_from_keywords
from kpmagic.channel.connection import Connection
from kpmagic.peers.settings import of_script

BCC = "int kprobe__vfs_read(void *ctx) { return 0; }"


def request(sandbox: Connection, tool: str) -> dict[str, Any]:
    """Return what is asked of an agent, with a command that never ends."""
    source = BCC if tool == "bcc" else "kprobe:vfs_read { @ = count(); }"
    payload = base64.b64encode(source.encode()).decode()
    common = {
        "do": "peer", "id": 1, "payload": payload, "tool": tool,
        "command": "sleep 1000 & sleep 1001", "max_ns": 600 * 10**9,
    }  # fmt: skip
    if tool == "bpftrace":
        return common
    facts = sandbox.facts()
    headers = build.compiler_for(facts.btf_file, facts.build_id).headers.directory
    settings = of_script(script_from_keywords("bcc", BCC, {}), [], headers)
    return common | {"settings": json.dumps(settings)}


@pytest.fixture
def file() -> Iterator[Path]:
    """A file that is in the sandbox too."""
    with tempfile.NamedTemporaryFile(dir=Path.cwd(), suffix=".json") as made:
        yield Path(made.name)


@pytest.mark.parametrize(("tool", "end"), [
    ("bpftrace", "SIGKILL"), ("bpftrace", "hang up"), ("bcc", "SIGKILL"),
])  # fmt: skip
def test_nothing_is_left_of_a_tracer(
    sandbox: Connection, file: Path, tool: str, end: str
) -> None:
    file.write_text(json.dumps(request(sandbox, tool)))
    first, last = killed(sandbox, file, end)
    assert first.startswith("started True")
    assert int(first.split()[-1]) >= 3  # a probe, and two cgroups
    assert last.startswith("gone")
    assert float(last.split()[1]) < 5


def test_a_module_goes_with_its_notebook(sandbox: Connection, file: Path) -> None:
    source = CLASSIC.replace("do_fork", "__x64_sys_getsid")
    run = kpmagic.module("orphan", source, target=sandbox, dry_run=True)
    payload = base64.b64encode(run.artifact.object).decode()
    file.write_text(json.dumps({"do": "insmod", "id": 1, "payload": payload, "name": "orphan",
                                "command": "sleep 1000", "max_ns": 600 * 10**9}))  # fmt: skip
    first, last = killed(sandbox, file, "hang up")
    assert first.startswith("started True")
    assert int(first.split()[-1]) >= 2  # its probe, and a cgroup
    assert last.startswith("gone")
    assert float(last.split()[1]) < 5
    assert b"orphan" not in sandbox.read("/proc/modules")


def killed(sandbox: Connection, file: Path, end: str) -> list[str]:
    """Let a second agent start what ``file`` asks and end it; return what was there, then left."""
    said: list[str] = []
    command = f"/usr/bin/python3 -I -S workloads/killed_agent.py {file.name} '{end}'"
    assert sandbox.run(command, lambda _, text: said.append(text)) == 0
    return "".join(said).strip().splitlines()[-2:]
