# SPDX-License-Identifier: MIT
"""%kp mechanisms: the same probe by each way into the kernel, measured."""

from __future__ import annotations

import time

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.overhead import measure
from kpmagic.session import session

PLANTED = {
    "bpf kprobe": "ftrace",
    "bpf fentry": "fentry",
    "module, ftrace": "ftrace",
    "module, jump": "jump",
    "module, int3": "int3",
    "tracefs event": "ftrace",
}
LEFT = """\
ls -d /tmp/kpmagic.* /sys/kernel/tracing/instances/kpmagic_*
grep kpmagic /sys/kernel/tracing/kprobe_events
grep -o '^kpmagic_[0-9a-f]*' /proc/modules
cat /sys/kernel/debug/kprobes/list
grep -v 1 /proc/sys/debug/kprobes-optimization
"""


def left(sandbox: Connection) -> str:
    """Return what is there of a measurement when it is over."""
    end = time.monotonic() + 10  # a probe may still be leaving
    while True:
        pieces: list[str] = []
        sandbox.run(f"({LEFT}) 2>/dev/null", lambda _, text, to=pieces: to.append(text))
        if not pieces or time.monotonic() > end:
            return "".join(pieces)
        time.sleep(0.1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways only: building all modules is not what these tests are about."""
    from kpmagic.overhead import ways

    monkeypatch.setattr(ways, "PROBES", {"bpf kprobe": {}})


def test_every_way_is_measured_and_nothing_is_left(sandbox: Connection) -> None:
    found = kpmagic.mechanisms("vfs_read", calls=4000, rounds=2, target=sandbox)
    table = found.df
    assert found.aside == ()
    assert len(table) == 2 * len(PLANTED)
    assert dict(zip(table["way"], table["mechanism"], strict=True)) == PLANTED
    assert (table["n"] == 2).all()
    assert (table["hits"] >= 8000).all()
    assert (table["dropped"].dropna() == 0).all()
    median = table.set_index(["way", "probe"])["ns"]
    # an exception costs more than a jump: by a factor of six on a quiet machine
    assert median["module, int3", "empty"] > median["module, jump", "empty"]
    assert len(found.plot().data) == 2
    assert left(sandbox) == ""


def test_of_several_names_any_is_measured(
    sandbox: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BTF and ftrace have one of them only."""
    from kpmagic.overhead import ways

    kept = {name: ways.PROBES[name] for name in ("bpf fentry", "module, int3")}
    monkeypatch.setattr(ways, "PROBES", kept)
    found = kpmagic.mechanisms("__x64_sys_getppid", calls=500, rounds=1, target=sandbox)
    assert found.aside == ()
    how = dict(zip(found.df["way"], found.df["mechanism"], strict=True))
    assert how == {"bpf fentry": "fentry", "module, int3": "int3", "tracefs event": "ftrace"}


@pytest.mark.usefixtures("quick")
def test_a_kind_of_call_is_found_for_the_function(sandbox: Connection) -> None:
    found = kpmagic.mechanisms("__x64_sys_getppid", calls=500, rounds=1, target=sandbox)
    assert found.workload == "getppid()"
    found = kpmagic.mechanisms("vfs_open", calls=500, rounds=1, target=sandbox)
    assert found.workload.startswith("openat()")
    assert left(sandbox) == ""


@pytest.mark.usefixtures("quick")
def test_a_command_of_the_users(sandbox: Connection) -> None:
    with pytest.raises(kpmagic.CellError, match="no workload of kpmagic's calls"):
        kpmagic.mechanisms("kernel_clone", calls=500, rounds=1, target=sandbox)
    forks = "i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done"
    found = kpmagic.mechanisms("kernel_clone", rounds=1, command=forks, target=sandbox)
    assert (found.df["hits"] >= 20).all()
    assert found.workload == forks
    assert left(sandbox) == ""


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [("vfs_raed", kpmagic.SymbolError), ("vfs_read+0x9", kpmagic.SymbolError),
     ("vfs_rea*", kpmagic.SymbolError)],
)  # fmt: skip
def test_one_function_is_needed(
    sandbox: Connection, symbol: str, kind: type[kpmagic.KpmagicError]
) -> None:
    with pytest.raises(kind):
        kpmagic.mechanisms(symbol, calls=500, rounds=1, target=sandbox)
    assert left(sandbox) == ""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("after", [2, 9])
def test_an_interrupt_keeps_whole_rounds_and_leaves_nothing(
    sandbox: Connection, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    timed, count = measure._timed, 0

    def interrupted(*words: object) -> float:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return timed(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "_timed", interrupted)
    if after < 4:
        with pytest.raises(KeyboardInterrupt):
            kpmagic.mechanisms("vfs_read", calls=500, rounds=5, target=sandbox)
    else:
        found = kpmagic.mechanisms("vfs_read", calls=500, rounds=5, target=sandbox)
        assert found.broken_off
        assert (found.df["n"] == 2).all()
    assert left(sandbox) == ""


@pytest.mark.usefixtures("quick")
def test_in_a_notebook_it_is_a_table(sandbox: Connection) -> None:
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    kpmagic.use(sandbox)
    with capture_output() as shown:
        shell.run_cell("%kp mechanisms vfs_read --calls 500 --rounds 1").raise_error()
    bundle = shown.outputs[-1].data
    assert "what a hit of vfs_read costs" in bundle["text/plain"]
    assert "<table>" in bundle["text/html"]
    with pytest.raises(kpmagic.CellError, match="--calls many"):
        shell.run_cell("%kp mechanisms vfs_read --calls many").raise_error()
    assert "cost" not in [run.name for run in session.runs()]
