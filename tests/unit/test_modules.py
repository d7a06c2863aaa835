# SPDX-License-Identifier: MIT
"""%%kmodule's line and source, and why a module did not go in."""

from __future__ import annotations

import errno

import pytest

from kpmagic.channel.refusals import ModuleRefusal
from kpmagic.compiler.kbuild import KbuildFailed
from kpmagic.errors import CellError, Place
from kpmagic.model import Module, Options
from kpmagic.modules import build
from kpmagic.modules.kernel_log import KernelLog, parse
from kpmagic.modules.refusals import explain
from kpmagic.modules.source import (
    missing_functions,
    module_from_keywords,
    parse_module,
    rename,
)

SOURCE = 'static struct kprobe kp = {\n\t.symbol_name = "do_fork",\n};\n'
HERE = {"kernel_clone", "vfs_read"}.__contains__


@pytest.mark.parametrize("name", ["", "9lives", "a-b", "a.b", "x" * 56, "$(x)", "'", "a b", "é", 5])
def test_a_name_is_a_c_identifier(name: str) -> None:
    with pytest.raises(CellError):
        module_from_keywords(name, SOURCE, {})


@pytest.mark.parametrize(
    ("line", "word"),
    [("", "no name"), ("a b", "one name"), ("hello --follow", "--follow"), ("a-b --bg", "a-b"),
     ("hello --where 1", "--where"), ("hello --backend bpf", "--backend"),
     ("hello --fro 1s", "--for"),
     ("hello --for 1s --while ls", "contradict"), ("$(touch) --bg", "touch")],
)  # fmt: skip
def test_a_line_that_means_nothing_is_refused(line: str, word: str) -> None:
    with pytest.raises(CellError) as caught:
        parse_module(line, SOURCE)
    assert word in str(caught.value)


def test_the_line_and_the_function_give_the_same_module() -> None:
    magic = parse_module("hello --while 'ls /' --rename", SOURCE)
    function = module_from_keywords("hello", SOURCE, {"command": "ls /", "rename": True})
    assert (magic.name, magic.source, magic.options) == ("hello", SOURCE, function.options)
    assert magic.options == Options(command="ls /", rename=True, max_time=0)


@pytest.mark.parametrize(
    "include",
    ['#include "/etc/shadow"', "# include </etc/shadow>", '  #include "../../secret.h"',
     '#include_next "/etc/passwd"'],
)  # fmt: skip
def test_no_include_leaves_the_headers(include: str) -> None:
    with pytest.raises(CellError, match="outside the kernel's headers") as caught:
        parse_module("hello", f"#include <linux/module.h>\n{include}\n")
    assert caught.value.place is not None
    assert caught.value.place.line == 3


@pytest.mark.parametrize("source", ["", " \n\t\n", None])
def test_a_module_has_a_source(source: str) -> None:
    with pytest.raises(CellError, match="no source"):
        module_from_keywords("hello", source, {})


def test_only_strings_that_are_names_are_renamed() -> None:
    source = 'a = "do_fork"; /* do_fork */ b = "do_fork failed"; c = "vfs_read"; do_fork();'
    module = rename(Module("m", source, Options()), HERE)
    assert module.source == source.replace('"do_fork"', '"kernel_clone"')
    assert module.note == "do_fork → kernel_clone: renamed _do_fork in 4.2, kernel_clone in 5.10"
    assert missing_functions(module.source, HERE) == []


def refusal(number: int, *log: str) -> ModuleRefusal:
    return ModuleRefusal("module 'm': no", number, "\n".join(log))


def test_a_renamed_function_is_explained_at_its_line() -> None:
    module = Module("m", SOURCE, Options())
    said = "6,501,12345,-;register_kprobe failed, returned -2"
    error = explain(refusal(errno.ENOENT, said), module, HERE)
    assert "init returned -2 (ENOENT" in error.message
    assert "returned -2" in error.message
    assert "'do_fork' is 'kernel_clone' in this kernel" in error.message
    assert error.place is not None
    assert error.place.line == 3
    assert error.place.text[error.place.column - 1 :].startswith("do_fork")


def test_gcc_s_column_is_that_of_the_cell() -> None:
    module = Module("hello", "int é = 1;\n\tchar é = y;\n", Options(), "In[3]")
    log = "hello.c:2:12: error: 'y' undeclared\n"
    error = build._at_the_cell(KbuildFailed("", log), "hello.c", module.place,
                               build.source_of(module))  # fmt: skip
    assert error.place == Place(3, 11, " char é = y;", "In[3]")


def test_behind_a_name_of_today_no_column_is_known() -> None:
    module = rename(Module("m", 'a("do_fork"); b();', Options()), HERE)
    assert [module.place(1, column).column for column in (1, 20)] == [1, 0]


def test_what_kbuild_says_of_no_place_is_in_the_error() -> None:
    module = Module("hello", "int x;\n", Options())
    error = build._at_the_cell(KbuildFailed("one\ntwo", "one\ntwo\n"), "hello.c", module.place,
                               build.source_of(module))  # fmt: skip
    assert str(error) == "one\ntwo"


def test_an_unknown_function_is_named() -> None:
    module = Module("m", SOURCE.replace("do_fork", "vfs_raed"), Options())
    error = explain(refusal(errno.ENOENT), module, HERE)
    assert "no function 'vfs_raed'" in error.message


def test_an_unknown_symbol_is_not_the_inits_fault() -> None:
    said = "3,1,2,-;m: Unknown symbol secret_function (err -2)"
    error = explain(refusal(errno.ENOENT, said), Module("m", SOURCE, Options()), HERE)
    assert "'secret_function'" in error.message
    assert "init returned" not in error.message


def test_the_log_is_records_and_nothing_else() -> None:
    lines = ["6,1,1500000,-;one \\xc3\\xa9", " SUBSYSTEM=acpi", "nonsense", "12,2,x,-;y",
             "30,3,2500000,-,caller=T1;two;three"]  # fmt: skip
    found = parse(lines)
    assert [(each.time, each.level, each.text) for each in found] == [
        (1_500_000_000, 6, "one é"),
        (2_500_000_000, 6, "two;three"),
    ]


@pytest.mark.parametrize("engine", ["pandas", "polars", "arrow"])
def test_the_log_is_a_table(engine: str) -> None:
    log = KernelLog(clock_offset=1_000)
    log.feed(b"4,1,1,-;first\n6,2,2,-;second\n")
    table = log.df(engine)
    frame = table if engine == "pandas" else table.to_pandas()  # type: ignore[attr-defined]
    assert list(frame.columns) == ["time", "level", "text"]
    assert frame.text.tolist() == ["first", "second"]
    assert frame.level.astype(str).tolist() == ["warn", "info"]
    assert frame.time.astype("int64").tolist()[0] in (2_000, 2)
