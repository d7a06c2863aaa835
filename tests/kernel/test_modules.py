# SPDX-License-Identifier: MIT
"""%%kmodule: from a cell to lines of the kernel's log, and out of the kernel again."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from samples import CLASSIC, HELLO

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.compiler import kbuild, kbuild_steps
from kpmagic.kp.doctor_kernel import findings
from kpmagic.kp.stages import stage
from kpmagic.modules.build import headers_of, makefile

FORKS = "i=0; while [ $i -lt 23 ]; do /bin/true; i=$((i+1)); done"


def names(sandbox: Connection) -> set[str]:
    """Return the modules that are loaded."""
    return {line.split()[0] for line in sandbox.read("/proc/modules").decode().splitlines()}


def test_the_classic_sample_is_told_its_functions_new_name(sandbox: Connection) -> None:
    with pytest.raises(kpmagic.AttachError) as caught:
        kpmagic.module("classic", CLASSIC, target=sandbox)
    text = str(caught.value)
    assert "init returned -2 (ENOENT" in text
    assert "register_kprobe failed, returned -2" in text
    assert "'do_fork' is 'kernel_clone' in this kernel" in text
    assert "--rename" in text
    assert caught.value.place is not None
    assert caught.value.place.line == 16
    assert "classic" not in names(sandbox)


def test_the_classic_sample_from_cell_to_log_to_removal(
    cell: InteractiveShell, sandbox: Connection
) -> None:
    cell.run_cell(f"%%kmodule classic -o run --rename --while '{FORKS}'\n{CLASSIC}").raise_error()
    run = cell.user_ns["run"]
    log = run.df()
    assert list(log.columns) == ["time", "level", "text"]
    assert str(log.time.dtype) == "datetime64[ns]"
    assert str(log.level.dtype) == "category"
    assert log.text.str.startswith("pre_handler: ").sum() >= 23
    assert log.text.str.startswith("post_handler: ").sum() >= 23
    log = log[~log.text.str.startswith("classic: ")]  # the kernel's, of the first module there is
    assert log.text.iloc[0].startswith("Planted kprobe at")
    assert log.text.iloc[-1].endswith("unregistered")
    assert run.stopped_by == "while"
    assert run.workload.exit_code == 0
    assert "do_fork → kernel_clone" in str(run)
    assert "removed (--while)" in str(run)
    assert "classic" not in names(sandbox)
    makefile = stage(run, "makefile")
    assert "obj-m := classic.o" in makefile


def test_a_module_stays_until_it_is_stopped(cell: InteractiveShell, sandbox: Connection) -> None:
    cell.run_cell(f"%%kmodule hello --bg -q -o run\n{HELLO % 0}").raise_error()
    run = cell.user_ns["run"]
    assert run.state == "running"
    assert "hello" in names(sandbox)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cell.run_cell("%kp list")
    assert re.search(r"hello +\d{4,} +0", out.getvalue())
    cell.run_cell("%kp stop hello")
    assert run.stopped_by == "user"
    assert "hello" not in names(sandbox)
    log = run.df()
    log = log[~log.text.str.startswith("hello: ")]  # the kernel's, of the first module there is
    assert log.text.iloc[0] == "hello, kernel é <b>"
    assert log.level.astype(str).iloc[0] == "warn"
    assert log.text.iloc[-1] == "goodbye"
    assert "&lt;b&gt;" in run._repr_html_()
    assert run.start().state == "running"
    run.stop()


def test_the_same_name_again_replaces_the_module(sandbox: Connection) -> None:
    first = kpmagic.module("hello", HELLO % 0, target=sandbox)
    second = kpmagic.module("hello", HELLO % 0 + "\n", target=sandbox)
    assert first.stopped_by == "replaced"
    assert second.state == "running"
    second.stop()


def test_a_name_that_is_taken_is_refused(sandbox: Connection) -> None:
    """Before it is built: what is here would not build."""
    with pytest.raises(kpmagic.AttachError, match="loaded already"):
        kpmagic.module("overlay", "no C at all", target=sandbox)
    assert "overlay" in names(sandbox)
    with pytest.raises(kpmagic.AttachError, match="a part of this kernel has this name"):
        kpmagic.module("kernel", "no C at all", target=sandbox)


def test_an_init_that_fails_says_what_it_returned(sandbox: Connection) -> None:
    with pytest.raises(kpmagic.AttachError, match=r"returned -12 \(ENOMEM") as caught:
        kpmagic.module("hello", HELLO % -12, target=sandbox)
    assert "hello, kernel" in str(caught.value)


def test_a_module_without_an_exit_stays_and_says_so(sandbox: Connection) -> None:
    source = HELLO.replace("module_exit(hello_exit);", "") % 0
    source = source.replace("static void __exit hello_exit", "static void __used hello_exit")
    run = kpmagic.module("forever", source, target=sandbox, duration="100ms")
    assert run.state == "failed"
    assert "no module_exit" in run.error
    assert "forever" in names(sandbox)
    bad = {each.name: each.found for each in findings(sandbox) if each.ok is False}
    assert bad == {"module forever": "stays loaded: it has no module_exit()"}


def test_an_error_stands_at_its_line_of_the_cell(cell: InteractiveShell) -> None:
    broken = CLASSIC.replace("int ret;", "int rte;")
    result = cell.run_cell(f"%%kmodule classic --bg\n{broken}")
    error = result.error_in_exec
    assert isinstance(error, kpmagic.BuildError)
    assert "'ret' undeclared" in str(error)
    assert error.place is not None
    assert error.place.line == 43
    assert error.place.text[error.place.column - 1 :] == "ret = register_kprobe(&kp);"


def test_what_no_module_may_call_is_named(sandbox: Connection) -> None:
    source = HELLO.replace("return %d", "return kallsyms_lookup_name(0) != 0")
    source = source.replace("static int", "unsigned long kallsyms_lookup_name(const char *);\n"
                            "static int", 1)  # fmt: skip
    with pytest.raises(kpmagic.BuildError, match="'kallsyms_lookup_name' is not there") as caught:
        kpmagic.module("hello", source, target=sandbox)
    assert caught.value.place is not None
    assert caught.value.place.line == 2


@pytest.mark.parametrize("trick", [
    '#define FILE "/etc/shadow"\n#include FILE\n',
    'asm(".incbin \\"/etc/shadow\\"");\n',
    '#include </etc/shadow>\n',
])  # fmt: skip
def test_the_compiler_cannot_read_what_root_can(sandbox: Connection, trick: str) -> None:
    with pytest.raises((kpmagic.BuildError, kpmagic.CellError)) as caught:
        kpmagic.module("hello", trick + HELLO % 0, target=sandbox)
    assert "root:" not in str(caught.value)
    assert "$y$" not in str(caught.value)


def test_neither_make_nor_a_shell_sees_words_of_the_cell(sandbox: Connection) -> None:
    trap = "$(error seen by make)`exit 1`';exit 1;\"; # \\\nobj-m += b.o"
    text = trap.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    run = kpmagic.probe("vfs_read", f'emit(n = sizeof(TEXT)); count(label = "{text}");',
                        target=sandbox, backend="kmod", defines={"TEXT": trap},
                        command="cat /etc/hostname", follow=True)  # fmt: skip
    assert set(run.df().n) == {len(trap) + 1}
    assert list(run.aggregates) == [trap]


def test_what_was_built_before_is_not_built_again(sandbox: Connection) -> None:
    kpmagic.module("hello", HELLO % 0, target=sandbox, duration="10ms")
    again = kpmagic.module("hello", HELLO % 0, target=sandbox, duration="10ms")
    assert again.info["build_seconds"] == 0.0
    assert again.log.rows >= 2


def test_what_kbuild_found_out_before_builds_the_same_module(
    sandbox: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kbuild_steps, "place", lambda *_: tmp_path / "steps")
    whole = []
    monkeypatch.setattr(kbuild, "_whole", lambda *given, make=kbuild._whole: (
        whole.append(given), make(*given))[1])  # fmt: skip
    tools = kbuild.kbuild_in(headers_of(sandbox.target, sandbox.release, lambda *_: None))
    files = {"hello.c": HELLO % 0, "Makefile": makefile("hello")}
    codes = []
    for _ in range(2):
        (tmp_path / "hello.ko").write_bytes(kbuild.build(tools, "hello", files, None).object)
        codes.append(subprocess.run(["objdump", "-dr", "hello.ko"], cwd=tmp_path, check=True,
                                    capture_output=True, text=True).stdout)  # fmt: skip
    assert len(whole) == 1
    assert codes[0] == codes[1]
    assert "<init_module>:" in codes[0]


def test_the_host_has_no_trace_of_a_build(sandbox: Connection) -> None:
    kpmagic.module("hello", HELLO % 0 + "\n\n", target=sandbox, duration="10ms")
    assert not list(Path("/tmp").glob("kpmagic-kbuild-*/hello.c"))


def test_a_recorded_module_is_played_without_a_kernel(sandbox: Connection, tmp_path: Path) -> None:
    run = kpmagic.module("hello", HELLO % 0, target=sandbox, command="echo here; exit 3")
    path = run.save(tmp_path / "hello.parquet")
    with kpmagic.connect(f"replay:{path}") as replay:
        again = kpmagic.module("hello", HELLO % 0, target=replay, command="echo here; exit 3")
    for each in (again, kpmagic.load(path)):
        assert each.df().equals(run.df())
        assert len(each.df()) >= 2
        assert each.workload == run.workload
        assert each.stopped_by == "while"


def test_a_lost_target_keeps_the_log(sandbox: Connection) -> None:
    run = kpmagic.module("hello", HELLO % 0, target=sandbox)
    while not run.log.rows:
        run.wait(0.05)
    sandbox.close()
    assert run.wait("5s")
    assert run.stopped_by == "target-lost"
    assert run.log.rows == 1


def test_a_module_that_kills_its_kernel_is_named_with_its_line(sandbox: Connection) -> None:
    # it kills by the shell's fork alone, a while after insmod has been answered
    deadly = 'strcmp(current->comm, "sh") ? 0 : *(long *)8);'
    bad = CLASSIC.replace("p->addr, regs->ip, regs->flags);", f"p->addr, regs->ip, {deadly}")
    command = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; /bin/true; sleep 9"
    run = kpmagic.module("bad", bad, target=sandbox, rename=True, command=command)
    assert run.stopped_by == "target-lost"
    frame = next(each for each in run.oops() if each.function == "handler_pre")
    assert frame.module == "bad"
    assert 22 <= frame.line <= 26
    assert "NULL pointer dereference" in str(run)
    assert run.log.rows >= 1


def test_a_cell_whose_kernel_died_is_an_error(cell: InteractiveShell) -> None:
    bad = CLASSIC.replace("p->addr, regs->ip, regs->flags);", "p->addr, regs->ip, *(long *)8);")
    result = cell.run_cell(f"%%kmodule bad --rename -o bad --while '/bin/true; sleep 9'\n{bad}")
    assert isinstance(result.error_in_exec, kpmagic.TargetLost)
    assert "NULL pointer dereference" in str(result.error_in_exec)
    assert cell.user_ns["bad"].stopped_by == "target-lost"


def test_what_a_module_has_no_room_for_is_missed_and_counted(sandbox: Connection) -> None:
    run = kpmagic.retprobe("hrtimer_nanosleep", "emit(latency);", target=sandbox, backend="kmod",
                           command="exec python3 workloads/sleepers.py 60", follow=True,
                           maxactive=10)  # fmt: skip
    assert run.stats.missed
    assert run.stats.missed + run.stats.entries >= 60
    assert run.stats.entries == run.stats.hits + run.stats.unpaired + run.stats.in_flight


def test_no_module_is_left_of_a_probe(sandbox: Connection) -> None:
    kpmagic.probe("vfs_read", "count();", target=sandbox, backend="kmod", duration="50ms")
    assert not [name for name in names(sandbox) if name.startswith("kpmagic_")]


def test_gcc_speaks_of_the_cells_line(sandbox: Connection) -> None:
    body = "int a = 1;\nint a = 2;\nemit(a);"
    with pytest.raises(kpmagic.BuildError, match="redefinition") as caught:
        kpmagic.probe("vfs_read", body, target=sandbox, backend="kmod", duration="1s")
    assert caught.value.place is not None
    assert caught.value.place.line == 2
