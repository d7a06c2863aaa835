# SPDX-License-Identifier: MIT
"""--fields, --depth and whole structs: the columns there are, and what is said of others."""

from __future__ import annotations

import re

import pytest
from compiled import TinyKernel

from kpmagic import build
from kpmagic.errors import CellError
from kpmagic.model import Kind


def columns(tiny: TinyKernel, kind: Kind, line: str, body: str | None = None) -> list[str]:
    source = build.render(tiny.plan(kind, line, body), tiny.compiler)
    return [field.name for layout in source.layouts for field in layout.fields]


def left_out(tiny: TinyKernel, line: str, body: str | None = None) -> dict[str, str]:
    source = build.render(tiny.plan("kprobe", line, body), tiny.compiler)
    return {each.name: each.why for each in source.left_out}


def test_without_an_option_every_argument_is_one_column(tiny: TinyKernel) -> None:
    assert columns(tiny, "kprobe", "vfs_read") == ["file", "buf", "count", "pos"]
    returned = ["file", "buf", "count", "pos", "retval", "errno", "latency"]
    assert columns(tiny, "kretprobe", "vfs_read") == returned


FILE_1 = ["f_flags", "is_open", "mode", "level", "f_pos", "color", "ready", "label", "inner",
          "small", "large", "numbers"]  # fmt: skip
NO_MEMBER = "'struct file *' has no member"


def test_depth_opens_what_points_to_a_struct(tiny: TinyKernel) -> None:
    opened = [f"file.{name}" for name in FILE_1]
    assert columns(tiny, "kprobe", "vfs_read --depth 1") == [*opened, "buf", "count", "pos"]
    assert left_out(tiny, "vfs_read --depth 1") == {"file.f_path": "deeper than --depth 1"}
    deeper = ["file.f_path.mnt", "file.f_path.dentry", *opened]
    assert columns(tiny, "kprobe", "vfs_read --depth 2") == [*deeper, "buf", "count", "pos"]
    assert left_out(tiny, "vfs_read --depth 2") == {}


def test_a_whole_struct_in_a_body_is_two_levels_deep(tiny: TinyKernel) -> None:
    names = columns(tiny, "kprobe", "vfs_read", "emit(*file, d = *file->f_path.dentry);")
    assert names[:3] == ["file.f_path.mnt", "file.f_path.dentry", "file.f_flags"]
    dentry = ["d.d_parent", "d.d_name.hash", "d.d_name.len", "d.d_name.name", "d.d_iname"]
    assert names[-5:] == dentry


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("count", ["count"]),
        ("count,file", ["count", "file"]),
        ("file.f_path.dentry.d_name.name", ["file.f_path.dentry.d_name.name"]),
        ("file->mode, file.mode", ["file.mode"]),
        ("file.f_path.*", ["file.f_path.mnt", "file.f_path.dentry"]),
        ("*.f_p??", ["file.f_pos"]),
        ("file.f_path.dentry.d_n*.n*", ["file.f_path.dentry.d_name.name"]),
        ("file.s*,file.l????", ["file.small", "file.level", "file.label", "file.large"]),
        ("ret*,latency", ["retval", "latency"]),
        ("errno", ["errno"]),
    ],
)  # fmt: skip
def test_fields_are_chosen_by_name(tiny: TinyKernel, fields: str, expected: list[str]) -> None:
    assert columns(tiny, "kretprobe", f"vfs_read --fields '{fields}'") == expected


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("vfs_read --fields fil", "vfs_read has no argument 'fil'", "did you mean file? there"),
        ("vfs_read --fields file.f_falgs", f"{NO_MEMBER} 'f_falgs'", "did you mean f_flags"),
        ("vfs_read --fields file.x*", f"{NO_MEMBER} like 'x*'", "there are f_path"),
        ("vfs_read --fields count.x", "count has no members: it is a 'size_t'", "--fields count"),
        ("vfs_read --fields file.f_path.mnt.x", "f_path.mnt has no members: it is a 'void *'", ""),
        ("vfs_read --fields retval", "vfs_read has no argument 'retval'", "there are"),
        ("vfs_read --fields file..x", "columns are named args.flags", ""),
        ("vfs_read --fields 'file;x'", "columns are named args.flags", ""),
        ("vfs_read --fields ''", "columns are named args.flags", ""),
        ("vfs_read+5 --fields file", "not known by name here", "regs"),
        ("vfs_read --depth 0", "at least 1", ""),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(tiny: TinyKernel, line: str, message: str, hint: str) -> None:
    with pytest.raises(CellError, match=re.escape(message)) as caught:
        columns(tiny, "kprobe", line)
    assert hint in caught.value.hint


def test_fields_are_for_probes_without_a_body(tiny: TinyKernel) -> None:
    with pytest.raises(CellError, match="without a body") as caught:
        columns(tiny, "kprobe", "vfs_read --fields count", "emit(count);")
    assert caught.value.place is not None
    assert caught.value.place.column == len("%%kprobe vfs_read ") + 1


def test_of_a_wildcard_those_that_do_not_fit_are_left_out(tiny: TinyKernel) -> None:
    assert columns(tiny, "kprobe", "vfs_* --fields file.mode,count") == ["file.mode", "count"]


def test_two_columns_of_one_name_in_c_are_refused(tiny: TinyKernel) -> None:
    with pytest.raises(CellError, match="named twice"):
        columns(tiny, "kprobe", "vfs_read", "emit(f = file->f_path, f__mnt = 1);")
