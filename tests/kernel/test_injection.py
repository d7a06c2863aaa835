# SPDX-License-Identifier: MIT
"""Fault injection: what the kernel returns is another value, so often and for those only."""

from __future__ import annotations

import pytest

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.errors import CellError

READERS = "exec python3 workloads/readers.py"
ONLY = {"where": "count == 7", "comm": "victim"}
MODULE = {"backend": "kmod", "inject": True}
DENY = """\
for (int i = 0; i < 12; i++)
	if (pathname->name[i] != "/tmp/secret"[i])
		return;
skip_function(-EACCES, file = str(pathname->name));
"""


def test_read_fails_three_times_for_one_process(sandbox: Connection) -> None:
    run = kpmagic.probe("vfs_read", "skip_function(-EIO, count);", target=sandbox, command=READERS,
                        times=3, **ONLY, **MODULE)  # fmt: skip
    assert run.workload is not None
    assert run.workload.stdout == "victim {'EIO': 3}\nbystander {}\n"
    assert run.workload.exit_code == 3
    df = run.df()
    assert df.injected.tolist() == [-5] * 3
    assert df["count"].tolist() == [7] * 3
    assert df.comm.eq("victim").all()
    assert run.stats.injected == 3
    assert run.stats.hits == run.stats.rows + run.stats.filtered
    assert "injected 3" in str(run)
    after = sandbox_run(sandbox, READERS)
    assert after == (0, "victim {}\nbystander {}\n")


def test_a_returned_value_is_replaced(sandbox: Connection) -> None:
    run = kpmagic.retprobe("vfs_read", "set_retval(-ENOMEM, was = retval);", target=sandbox,
                           command=READERS, times=2, **ONLY, **MODULE)  # fmt: skip
    assert run.workload is not None
    assert run.workload.stdout == "victim {'ENOMEM': 2}\nbystander {}\n"
    assert run.df().was.tolist() == [7, 7]
    assert run.stats.injected == 2
    assert sandbox_run(sandbox, READERS)[0] == 0


def test_one_file_cannot_be_opened(sandbox: Connection) -> None:
    command = "echo s > /tmp/secret; echo o > /tmp/secrets; cat /tmp/secrets; cat /tmp/secret"
    if "do_filp_open" not in sandbox.facts().symbols:
        pytest.skip("no do_filp_open here, and struct filename has no name: Linux 7.2")
    run = kpmagic.probe("do_filp_open", DENY, target=sandbox, follow=True,
                        command=f"touch /tmp/secret; {command}", **MODULE)  # fmt: skip
    assert run.workload is not None
    assert run.workload.exit_code == 1
    assert run.workload.stdout == "o\n"
    assert "Permission denied" in run.workload.stderr
    assert set(run.df().file) == {"/tmp/secret"}
    assert run.df().injected.eq(-13).all()
    assert sandbox_run(sandbox, f"{command}; rm /tmp/secret /tmp/secrets") == (0, "o\ns\n")


def test_a_chance_is_kept(sandbox: Connection) -> None:
    run = kpmagic.probe("vfs_read", "skip_function(-EIO);", target=sandbox, probability=0.25,
                        command=READERS, **ONLY, **MODULE)  # fmt: skip
    assert run.stats.hits == run.stats.rows + run.stats.filtered
    assert 2 <= run.stats.rows <= 28  # all but one of 30,000 times
    assert run.stats.injected == run.stats.rows == len(run.df())
    assert run.workload is not None
    assert run.workload.exit_code == run.stats.rows


def test_an_injection_ends_with_its_notebook(sandbox: Connection) -> None:
    with kpmagic.probe("vfs_read", "skip_function(-EIO);", target=sandbox, **ONLY, **MODULE):
        assert sandbox_run(sandbox, READERS)[0] == 50
    assert sandbox_run(sandbox, READERS)[0] == 0


REFUSED = [
    ("probe", "vfs_read", "skip_function(-EIO);", {"backend": "kmod"}, "--inject allows"),
    ("probe", "vfs_read", "skip_function(-EIO);", {"inject": True}, "CONFIG_BPF_KPROBE_OVERRIDE"),
    ("retprobe", "vfs_read", "set_retval(-EIO);", {"inject": True}, "--backend kmod"),
    ("probe", "vfs_read", "emit(count);", MODULE, "nothing in the body that injects"),
    ("probe", "vfs_read", "set_retval(-EIO);", MODULE, "for return probes"),
    ("retprobe", "vfs_read", "skip_function(-EIO);", MODULE, "has run already"),
    ("probe", "vfs_read+9", "skip_function(-EIO);", MODULE, "is inside"),
    ("probe", "vfs_read", "skip_function();", MODULE, "needs a value"),
    ("probe", "vfs_read", "emit(1);\n---post---\nskip_function(0);", MODULE, "too late"),
    ("probe", "vfs_fsync", "skip_function(5000000000);", MODULE, "does not fit"),
    ("probe", "vfs_fsync", "skip_function((long)file);", MODULE, "is wider"),
    ("probe", "do_filp_open", "skip_function(4096);", MODULE, "neither NULL nor an error pointer"),
    ("probe", "do_filp_open", "skip_function(dfd);", MODULE, "is no pointer"),
    ("probe", "kfree", "skip_function(1);", MODULE, "returns nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("way", "symbol", "body", "options", "text"), REFUSED,
                         ids=[f"{each[0]} {each[1]} {each[4]}" for each in REFUSED])  # fmt: skip
def test_what_cannot_be_injected_is_refused(
    sandbox: Connection, way: str, symbol: str, body: str, options: dict[str, object], text: str
) -> None:
    place = named_here(symbol, sandbox)
    with pytest.raises(kpmagic.KpmagicError) as caught:
        getattr(kpmagic, way)(place, body, target=sandbox, dry_run=True, **options)
    assert text in str(caught.value)


def test_limits_are_limits_of_an_injection() -> None:
    for options in ({"times": 3}, {"probability": 0.5}):
        with pytest.raises(CellError, match="needs inject"):
            kpmagic.probe("vfs_read", "emit(count);", **options)
    with pytest.raises(CellError, match=r"above 0 \(a billionth at least\) and at most 1"):
        kpmagic.probe("vfs_read", "emit(count);", inject=True, probability=0)


def named_here(symbol: str, sandbox: Connection) -> str:
    """Return what this kernel calls a function: do_filp_open() is do_file_open() in Linux 7.2."""
    here = symbol != "do_filp_open" or symbol in sandbox.facts().symbols
    return symbol if here else "do_file_open"


def sandbox_run(sandbox: Connection, command: str) -> tuple[int, str]:
    """Run a command without any probe; return its exit code and what it printed."""
    said: list[str] = []
    code = sandbox.run(command, lambda stream, text: said.append(text * (stream == "stdout")))
    return code, "".join(said)
