# SPDX-License-Identifier: MIT
"""Every failure is seen by a notebook runner, says what it is, and the notebook goes on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from programs import hidden

IN_THE_SANDBOX = {
    "unknown symbol": (
        "%%kprobe vfs_raed --for 1s\nemit(pid);",
        "SymbolError",
        r"no function 'vfs_raed' in this kernel \(6\.1\..*\)\n  hint: did you mean vfs_read",
    ),
    "inlined symbol": ("%kprobe get_unaligned_le32 --for 1s", "SymbolError", "inline"),
    "notrace symbol": ("%kprobe ftrace_ops_list_func --for 1s", "SymbolError", "trace"),
    "blacklisted symbol": ("%kprobe do_int3 --for 1s", "SymbolError", "blacklist"),
    "unknown member": (
        "%%kprobe vfs_read --for 1s\nint x = 1;\nemit(x, file->f_paht);",
        "BuildError",
        r":3:15\b(?s:.*)emit\(x, file->f_paht\);\n +\^",
    ),
    "syntax of C": ("%%kprobe vfs_read --for 1s\nint x = ;\nemit(x);", "BuildError", r":2:9\b"),
    "verifier": (
        "%%kprobe vfs_read --for 1s\nfor (;;)\n  if (bpf_ktime_get_ns() == 0) break;\nemit(pid);",
        "VerifierError",
        r"infinite loop detected(?s:.*):[23]\b",
    ),
    "unknown option": ("%kprobe vfs_read --fro 1s", "CellError", "'--fro'(?s:.*)--for"),
    "duplicate option": ("%kprobe vfs_read --for 1s --for 2s", "CellError", "--for"),
    "no body": ("%%kprobe vfs_read --for 1s\n# nothing", "BuildError|CellError", ""),
    "%kp of nothing": ("%kp tragte", "CellError", "target"),
    "no such probe": ("%kp stop nothing_of_that_name", "KpmagicError|CellError", "nothing_of"),
    "headless without an end": ("%kprobe vfs_read", "CellError", "--for"),
}


# of a run `some` with a column `count` and one of names, and of a run `none` without rows
OF_A_RUN = {
    "plot without rows": ("none.plot()", "CellError", r"no rows to plot\n  hint: the card says"),
    "flame without rows": ("none.flame()", "CellError", "no stacks"),
    "plot of no column": ("some.plot('hist', 'cuont')", "CellError", "did you mean count"),
    "plot of names": ("some.plot('scatter', 'name')", "CellError", "'name' is not a number"),
    "plot by no column": ("some.plot('rate', by='nobody')", "CellError", "no column 'nobody'"),
    "plot of no kind": ("some.plot('pie')", "CellError", "there are rate, hist"),
    "export into no folder": ("some.export('csv', 'no/where.csv')", "RecordingError",
                              r"cannot write 'no/where.csv': No such file(?s:.*)hint"),
    "export over a folder": ("some.export('perfetto', '/tmp')", "RecordingError", "Is a directory"),
    "export to a full disk": ("some.export('csv', '/dev/full')", "RecordingError", "No space left"),
    "export without rows": ("none.export('csv', 'x.csv')", "CellError", "no rows"),
    "save into no folder": ("some.save('no/where.parquet')", "RecordingError", "cannot write"),
}  # fmt: skip


def check(error: Any, name: str, text: str) -> None:
    """Check an error output: its class, its message, and that there is no traceback in it."""
    shown = "\n".join(error.traceback)
    assert re.fullmatch(name, error.ename), error.ename
    assert re.search(text, shown), shown
    assert "Traceback" not in shown
    assert "site-packages" not in shown
    assert len(shown.splitlines()) <= 16, shown  # a dead kernel has some last words


@pytest.mark.parametrize("which", IN_THE_SANDBOX)
def test_an_error_of_a_cell(which: str, notebook: Any) -> None:
    cell, name, text = IN_THE_SANDBOX[which]
    check(notebook.fails(cell), name, text)
    assert notebook.value("'went' + ' on'") == "'went on'"


@pytest.mark.parametrize("which", OF_A_RUN)
def test_an_error_of_a_plot_or_an_export(which: str, notebook: Any) -> None:
    if notebook.value("'some' in globals()") == "False":
        body = "emit(name = str(file->f_path.dentry->d_name.name), count);"
        for out, where in (("some", "count > 0"), ("none", "count == 1 && count == 2")):
            notebook.run(f"%%kprobe vfs_read --while 'cat /etc/hostname' --follow "
                         f"--where '{where}' -o {out}\n{body}")  # fmt: skip
    check(notebook.fails(OF_A_RUN[which][0]), *OF_A_RUN[which][1:])
    assert notebook.value("'went' + ' on'") == "'went on'"


def test_after_all_these_errors_a_probe_works(notebook: Any) -> None:
    notebook.run("%%kprobe do_fork --while '/bin/true; exit' --follow -o run\nemit(pid);")
    assert notebook.value("len(run.df())") == "1"


def test_a_sandbox_that_dies_is_told_and_replaced(notebook: Any) -> None:
    notebook.run("%%kprobe vfs_read --bg -o run\nemit(count);")
    notebook.run("%kp run 'cat /etc/hostname'")
    check(notebook.fails("%kp run 'echo c > /proc/sysrq-trigger; sleep 9'"), "TargetLost", "gone")
    assert notebook.value("run.wait(5), run.stopped_by") == "(True, 'target-lost')"
    assert int(notebook.value("len(run.df())")) > 0
    notebook.run("%%kprobe do_fork --while '/bin/true; exit' --follow -o run\nemit(pid);")
    assert notebook.value("len(run.df())") == "1"


def test_a_while_that_kills_the_sandbox_fails_the_cell(notebook: Any) -> None:
    cell = "%%kprobe vfs_read --while 'echo c > /proc/sysrq-trigger; sleep 9' -o run\nemit(count);"
    check(notebook.fails(cell), "TargetLost", "sysrq|crash")
    assert notebook.value("run.stopped_by") == "'target-lost'"


def test_a_machine_without_qemu(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.run(hidden("qemu-system-x86_64"))
    error = notebook.fails("%kprobe vfs_read --for 1s")
    check(error, "MissingDependency", "qemu-system-x86(?s:.*)apt-get install")
    assert notebook.value("1 + 1") == "2"


def test_a_machine_without_clang(open_notebook: Any) -> None:
    notebook = open_notebook()
    notebook.run(hidden(""))
    error = notebook.fails("%%kprobe vfs_read --for 1s\nemit(pid);")
    check(error, "MissingDependency", "clang-19")


def test_no_kernel_and_no_network(open_notebook: Any, tmp_path: Any) -> None:
    closed = "http://127.0.0.1:9"
    notebook = open_notebook(KPMAGIC_CACHE=str(tmp_path / "cache"), http_proxy=closed,
                             https_proxy=closed)  # fmt: skip
    check(notebook.fails("%kprobe vfs_read --for 1s"), "TargetError", "network")
    check(notebook.fails("%kp kernels fetch 6.1"), "TargetError", "(?s:.*)hint")
    left = [path.name for path in (tmp_path / "cache/kernels").iterdir() if path.is_dir()]
    assert left == []
