# SPDX-License-Identifier: MIT
"""The ssh target, against a real sshd whose machine is a sandbox."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from far import FarMachine, use_ssh_of

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.errors import NotPermitted, TargetError, TargetLost
from kpmagic.targets.lease import Lease
from kpmagic.targets.ssh import Ssh

pytestmark = pytest.mark.timeout(120)

PATIENCE = 60.0
FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"


def calls(name: str, count: int, given: str = "") -> str:
    """A command that makes a system call ``count`` times."""
    return f"/usr/bin/python3 -I -S -c 'import os\nfor _ in range({count}): os.{name}({given})'"


def until(true: Callable[[], object]) -> float:
    """Wait until it is; return how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def far(fetched_kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarMachine]:
    folder: Path = tmp_path_factory.mktemp("far") / "machine"
    folder.mkdir(mode=0o755)
    machine = FarMachine(fetched_kernel, folder)
    yield machine
    machine.close()


@pytest.fixture(autouse=True)
def ssh(far: FarMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    use_ssh_of(far.folder, monkeypatch)


def connected(user: str = "root", lease: Lease | None = None) -> Connection:
    target = Ssh(f"ssh://{user}@far")
    if lease is not None:
        target.lease = lease
    connection = Connection(target)
    connection.wait_for_hello()
    return connection


def pid_of(connection: Connection) -> int:
    """Return ssh's process id."""
    assert isinstance(connection.target, Ssh)
    assert connection.target.pid is not None
    return connection.target.pid


@pytest.mark.parametrize("user", ["root", "ada"])
def test_a_probe_there_as_in_the_sandbox(far: FarMachine, user: str) -> None:
    with kpmagic.connect(f"ssh://{user}@far") as connection:
        assert connection.hello["boot_id"] == far.inside.hello["boot_id"]
        run = kpmagic.probe("kernel_clone", "emit(args->flags);", target=connection,
                            command=FORKS, follow=True)  # fmt: skip
        assert (run.stats.hits, len(run.df()), run.stopped_by) == (23, 23, "while")
        assert f"bpf on ssh://{user}@far {connection.release}" in repr(run)
        pieces: list[str] = []
        assert connection.run("id -u; exit 3", lambda _, text: pieces.append(text)) == 3
        assert pieces == ["0\n"]
    until(lambda: not far.kprobes() and not far.cgroups())


def test_a_users_stack_there_has_names_from_the_programs_there(far: FarMachine) -> None:
    deep = far.folder / "deep.c"  # which that machine sees, wherever these tests lie
    deep.write_bytes((Path(__file__).parent / "workloads/deep.c").read_bytes())
    with kpmagic.connect("ssh://ada@far") as connection:
        run = kpmagic.probe("__x64_sys_getsid", "emit(ustack());", target=connection, follow=True,
                            command=f"gcc -O0 -o /tmp/deep {deep} && /tmp/deep 23")  # fmt: skip
        names = [row[:3] for row in run.df()["ustack"]]
    assert names.count(["innermost", "middle", "main"]) == 23


def test_facts_come_over_the_channel_once(
    far: FarMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path))
    said: list[str] = []
    with connected() as connection:
        facts = connection.facts(said.append)
        assert facts.btf.function("vfs_read") is not None
        assert "kernel_clone" in facts.symbols
        assert any("/sys/kernel/btf/vmlinux" in text for text in said)
    said.clear()
    with connected() as connection:
        connection.facts(said.append)
        assert said == []


def test_sudo_that_asks_is_no_way(far: FarMachine) -> None:
    with pytest.raises(NotPermitted, match="password is required") as caught:
        connected("eve")
    assert "echo 'eve ALL=(root) NOPASSWD: /usr/bin/python3' | sudo tee" in caught.value.hint


@pytest.mark.parametrize(
    ("setting", "error", "says"),
    [
        ("  Port 1\n", TargetError, "Connection refused"),
        ("  HostKeyAlias other\n", TargetError, "Host key verification failed"),
        ("  IdentityFile /dev/null\n", NotPermitted, "Permission denied"),
        ("  HostName no-such-host.invalid\n", TargetError, "Could not resolve hostname"),
    ],
)
def test_what_ssh_says_is_what_is_told(
    far: FarMachine, setting: str, error: type[TargetError], says: str
) -> None:
    path = far.folder / "ssh_config"
    before = path.read_text()
    text = before if "IdentityFile" not in setting else before.replace("/user\n", "/none\n")
    path.write_text(f"Host far\n{setting}{text}")
    try:
        with pytest.raises(error, match=says) as caught:
            connected()
    finally:
        path.write_text(before)
    assert caught.value.hint


@pytest.mark.parametrize("who", ["ssh", "agent"])
def test_killed_at_one_end(far: FarMachine, who: str) -> None:
    with connected() as connection:
        run = kpmagic.probe("__x64_sys_getppid", "emit(pid);", target=connection,
                            comm="python3")  # fmt: skip
        far.inside.run(calls("getppid", 500))
        until(lambda: run.recording.rows >= 500)
        if who == "ssh":
            os.kill(pid_of(connection), signal.SIGKILL)
        else:
            far.inside.run(f"kill -9 {connection.hello['pid']}")
        assert run.wait(PATIENCE)
        assert (run.stopped_by, len(run.df())) == ("target-lost", 500)
        with pytest.raises(TargetLost):
            connection.read("/proc/version")
    until(lambda: not far.kprobes() and not far.cgroups())
    with connected() as connection:
        assert connection.run("true") == 0


def test_what_a_killed_agent_left_is_swept_by_the_next(far: FarMachine) -> None:
    """Its warden is killed too, so that its cgroup and what runs in it stay."""
    with connected() as connection:
        connection.ask("run", run=connection.new_number(), command="sleep 1000")
        until(lambda: far.cgroups())
        pid = connection.hello["pid"]
        far.inside.run(f"pkill -9 -f 'cgroup/[k]pmagic.{pid}'; kill -9 {pid}")
        until(lambda: not connection.alive)
    (left,) = far.cgroups()
    asked, _ = far.inside.request("clean")
    assert asked["removed"] == [f"cgroup {left}"]
    assert far.cgroups() == []


def test_a_stopped_ssh_is_told_and_both_ends_clean_up(far: FarMachine) -> None:
    with connected(lease=Lease(lost=6, undo=8)) as connection:
        run = kpmagic.probe("__x64_sys_getppid", "emit(pid);", target=connection)
        connection.ask("run", run=connection.new_number(), command="sleep 1000")
        until(lambda: far.cgroups())
        os.kill(pid_of(connection), signal.SIGSTOP)
        until(lambda: connection.remark)
        assert "no word from" in run.remarks[-1]
        assert run.wait(PATIENCE)
        assert run.stopped_by == "target-lost"
    until(lambda: not far.kprobes() and not far.cgroups())


def test_a_short_stop_loses_nothing(far: FarMachine) -> None:
    with connected() as connection:
        run = kpmagic.probe("__x64_sys_getppid", "emit(pid);", target=connection,
                            comm="python3")  # fmt: skip
        os.kill(pid_of(connection), signal.SIGSTOP)
        far.inside.run(calls("getppid", 700))
        os.kill(pid_of(connection), signal.SIGCONT)
        until(lambda: run.recording.rows >= 700)
        run.stop()
        assert (run.stats.rows, run.stats.dropped) == (700, 0)
        assert run.stats.hits == run.stats.rows + run.stats.filtered


def test_twenty_probes_of_several_notebooks_do_not_mix(far: FarMachine) -> None:
    """Started and stopped in any order; each counts its own function only."""
    # none that agents call: those of the other notebooks would be seen, and rightly
    names = ["getsid", "getpgid", "sched_getscheduler", "getresuid", "getresgid"]
    choice = random.Random(20)
    connections = [connected(user) for user in ("root", "ada", "root")]
    runs = []
    try:
        for number in range(20):
            name = names[number % len(names)]
            runs.append((name, kpmagic.probe(
                f"__x64_sys_{name}", f"emit(n = {number});", target=connections[number % 3],
                comm="python3", name=f"{name}-{number}")))  # fmt: skip
        for name in names:
            given = "" if name.startswith("getres") else "0"
            far.inside.run(calls(name, 100 + names.index(name), given))
        choice.shuffle(runs)
        for name, run in runs:
            run.stop()
            assert run.stats.hits == run.stats.rows + run.stats.filtered
            assert run.stats.rows == len(run.df()) == 100 + names.index(name)
            assert set(run.df()["n"]) == {int(run.name.split("-")[1])}
    finally:
        for connection in connections:
            connection.close()
    until(lambda: not far.kprobes() and not far.cgroups())
