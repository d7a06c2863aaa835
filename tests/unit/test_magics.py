# SPDX-License-Identifier: MIT
"""The magics as IPython and notebook runners see them, as far as no target is needed."""

from __future__ import annotations

import pydoc
import re
import subprocess
import sys
from typing import Any

import nbformat
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from runs import finished

import kpmagic
from kpmagic import magics
from kpmagic.cell import options
from kpmagic.cell.options import OPTIONS, is_of
from kpmagic.errors import CellError, TargetError
from kpmagic.kp import commands
from kpmagic.view.live import Panel

WRONG = [
    ("%%kprobe vfs_read --fro 5s\nemit(pid);", "did you mean --for?"),
    ("%%kprobe vfs_read --for 1s --for 2s\nemit(pid);", "twice"),
    ("%%kretprobe vfs_read+4 --for 1s\nemit(pid);", "not at an offset"),
    ("%kprobe --for 1s", "no function is named"),
    ("%%kprobe vfs_read --for 1s -D N=$nobody\nemit(N);", "no Python variable 'nobody'"),
    ("%kp lits", "did you mean list?"),
    ("%kp stop nothing", "no probe 'nothing'"),
    ("%kp show nothing --stage plan", "no probe 'nothing'"),
    ("%kp show nothing --stgae plan", "did you mean --stage?"),
    ("%kp target local --kernel 6.1", "local takes no option 'kernel'"),
    ("%kp target ssh://-oX@there", "'ssh://-oX@there' is no address of a machine"),
    ("%kp target sandbox --cpus two", "whole number"),
    ("%kp target moon", "no target 'moon'"),
    ("%kp kernels fetch", "usage"),
    ("%kp kernels fetch 2.6", "no kernel '2.6'"),
    ("%kp kernels remove", "usage"),
    ("%kp kernels remove 2.6", "no kernel '2.6' to remove"),
    ("%kp symbols 'open", "no closing quotation"),
    ("%kp run", "usage: %kp run CMD"),
]


@pytest.fixture
def shell() -> InteractiveShell:
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    return shell


@pytest.mark.parametrize(("cell", "text"), WRONG, ids=[cell for cell, _ in WRONG])
def test_mistakes_in_a_terminal(shell: InteractiveShell, cell: str, text: str,
                                capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    result = shell.run_cell(cell)
    error = result.error_in_exec
    assert isinstance(error, kpmagic.KpmagicError)
    assert not isinstance(error, UsageError)
    assert text in str(error)
    shown = capsys.readouterr().out
    assert text in shown
    assert "Traceback" not in shown


def notebook(*cells: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def test_mistakes_in_a_notebook() -> None:
    cells = [cell for cell, _ in WRONG]
    made = notebook("%load_ext kpmagic", *cells, "print('still here')")
    NotebookClient(made, allow_errors=True, timeout=60, kernel_name="python3").execute()
    assert made.cells[0].outputs == []
    for cell, (_, text) in zip(made.cells[1:-1], WRONG, strict=True):
        (output,) = cell.outputs
        assert output.output_type == "error", cell.source
        assert issubclass(getattr(kpmagic, output.ename), kpmagic.KpmagicError)
        assert text in "\n".join(output.traceback)
        assert len(output.traceback) == 1
    assert made.cells[-1].outputs[0].text == "still here\n"


def test_a_runner_sees_the_error_and_stops() -> None:
    made = notebook("%load_ext kpmagic", "%%kprobe vfs_read --fro 1s\nemit(pid);")
    with pytest.raises(CellExecutionError, match="did you mean --for"):
        NotebookClient(made, timeout=60, kernel_name="python3").execute()


def test_nobody_there_is_an_error_and_never_a_hang() -> None:
    made = notebook("%load_ext kpmagic", "%%kprobe vfs_read\nemit(pid);")
    with pytest.raises(CellExecutionError, match="--for 5s, --while"):
        NotebookClient(made, timeout=60, kernel_name="python3").execute()


def test_a_cell_that_waits_for_a_run_that_fails_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = finished(rows=3, more={"error": "out of memory"})
    run._life.reason = "error"
    with pytest.raises(TargetError, match="out of memory"):
        magics._show(run, Panel(updates=False), True)
    assert "3 rows" in capsys.readouterr().out
    magics._show(run, Panel(updates=False), False)


def test_the_environment_can_say_that_nobody_is_there(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_NONINTERACTIVE", "1")
    assert isinstance(shell.run_cell("%kprobe vfs_read").error_in_exec, CellError)


def test_kp_alone_lists_every_subcommand(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("%kp").raise_error()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(commands.SUBCOMMANDS)
    assert all(each.help in line for each, line in zip(commands.SUBCOMMANDS, lines, strict=True))


def test_help_shows_every_option(shell: InteractiveShell) -> None:
    for magic in ("kprobe", "kretprobe"):
        text = shell.find_cell_magic(magic).__doc__
        assert all(option.spelling in text for option in OPTIONS if is_of(option, "kprobe"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("%%kprobe", ["%%kprobe SPEC…", "--while COMMAND", "emit(a, b = expr, …)", "kstack()"]),
        ("%kretprobe", ["%%kretprobe SYMBOL…", "latency in ns", "--follow"]),
        ("%%kmodule", ["%%kmodule NAME", "--rename"]),
        ("%%bpftrace", ["%%bpftrace [options]", "--while COMMAND"]),
        ("%%bcc", ["%%bcc [SPEC…]", "BPF_HASH"]),
        ("%kp", ["%kp alone lists the subcommands"]),
    ],
)
def test_a_question_mark_shows_how_a_cell_is_written(
    shell: InteractiveShell, asked: str, words: list[str]
) -> None:
    # what "%%kprobe?" puts into the pager of a notebook
    shown = shell.object_inspect_mime(asked)["text/plain"]
    assert [word for word in words if word not in shown] == []


def test_loading_starts_nothing_and_is_quick() -> None:
    code = (
        "import sys, threading; import kpmagic, kpmagic.magics\n"
        "heavy = {'pandas', 'pyarrow', 'numpy', 'elftools', 'clang'} & set(sys.modules)\n"
        "print(sorted(heavy), threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 1"


def test_unloading_takes_the_magics_away() -> None:
    shell = InteractiveShell()
    shell.extension_manager.load_extension("kpmagic")
    assert shell.find_cell_magic("kprobe") is not None
    shell.extension_manager.unload_extension("kpmagic")
    assert shell.find_cell_magic("kprobe") is None
    assert shell.find_line_magic("kp") is None


def test_the_public_names() -> None:
    assert all(getattr(kpmagic, name) is not None for name in kpmagic.__all__)
    with pytest.raises(AttributeError):
        kpmagic.modul  # noqa: B018


# -- the shell -------------------------------------------------------------------------------


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "kpmagic", *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=60, check=False)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("probe", "vfs_read", "--fro", "2s"), "did you mean --for?"),
        (("probe", "vfs_read", "--body"), "--body needs a value"),
        (("probe", "vfs_read", "--format", "xml"), "text, csv, json"),
        (("probe", "vfs_read", "--bg"), "for notebooks"),
        (("list",), "for notebooks"),
        (("prob", "vfs_read"), "no subcommand 'prob'"),
    ],
)
def test_mistakes_in_a_shell(words: tuple[str, ...], text: str) -> None:
    done = call(*words)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("name", "magic"), [
    ("probe", "kprobe"), ("retprobe", "kretprobe"), ("module", "kmodule"),
    ("bpftrace", "bpftrace"), ("bcc", "bcc"),
])  # fmt: skip
def test_help_of_a_function_shows_every_option(name: str, magic: str) -> None:
    text = pydoc.render_doc(getattr(kpmagic, name), renderer=pydoc.plaintext)
    for keyword, option in options.BY_KEYWORD.items():
        line = rf"(?m)^ +{keyword} +{re.escape(option.help)}$"
        assert bool(re.search(line, text)) == options.is_of(option, magic), keyword


def test_help_in_a_shell() -> None:
    done = call("--help")
    assert done.returncode == 0
    assert "retprobe" in done.stdout
    assert "--follow" in done.stdout
    assert call().returncode == 2


def test_kernels_in_a_shell() -> None:
    done = call("kernels")
    assert done.returncode == 0
    assert "6.12" in done.stdout
