# SPDX-License-Identifier: MIT
"""Cells as stand-alone source: what each language writes, and what it has no equivalent for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compiled import TinyKernel

import kpmagic
from kpmagic.analysis.analyse import analyse
from kpmagic.backends.bpf import Bpf
from kpmagic.model import Kind, Plan, Source
from kpmagic.standalone import bcc, bpftrace, tracefs


def made(tiny: TinyKernel, line: str, body: str, kind: Kind = "kprobe") -> tuple[Plan, Source]:
    plan = tiny.plan(kind, line, body)
    return plan, Bpf().render(analyse(plan, tiny.compiler))


def test_a_bpftrace_script_has_a_statement_for_each(tiny: TinyKernel) -> None:
    text = bpftrace.script(*made(
        tiny, "vfs_read --comm dd --where 'count > 5'",
        'emit(count, n = str(file->f_path.dentry->d_name.name), comm);  /* a row */\n'
        'lhist(count, 0, 100, 10); sum(count, by = comm, on = cpu, label = "bytes");',
    ))  # fmt: skip
    assert 'if ((comm == "dd") && (((uint64)arg2) > 5)) {' in text
    assert ('printf("%lu\\t%s\\n", ((uint64)arg2), '
            "str(((struct file *)arg0)->f_path.dentry->d_name.name));") in text
    assert "@lhist_count_0_100_10 = lhist(((uint64)arg2), 0, 100, 10);" in text
    assert "@bytes[comm, cpu] = sum(((uint64)arg2));" in text


def test_a_return_keeps_what_it_needs_of_its_entry(tiny: TinyKernel) -> None:
    text = bpftrace.script(*made(tiny, "vfs_read", "emit(retval, latency, count);", "kretprobe"))
    assert "@kp_start[tid] = nsecs;\n\t@kp_count[tid] = arg2;" in text
    assert "(nsecs - @kp_start[tid]), ((uint64)@kp_count[tid])" in text
    assert "delete(@kp_count[tid]);" in text
    assert "@kp_file" not in text


@pytest.mark.parametrize(("line", "body", "words", "place"), [
    ("vfs_read", "count();\nif (count > 5) emit(count);", "'if (count > 5)", 3),
    ("vfs_read", "int x = 3;\nemit(x);", "'int x = 3", 2),
    ("vfs_read --while true --follow", "count();", "--follow has no equivalent in bpftrace", 0),
    ("vfs_read --sample 1/7", "count();", "--sample", 0),
    ("vfs_read", "count(); emit(a = regs->ip);", "'regs'", 2),
])  # fmt: skip
def test_what_bpftrace_has_not_is_named(
    tiny: TinyKernel, line: str, body: str, words: str, place: int
) -> None:
    with pytest.raises(kpmagic.CellError) as caught:
        bpftrace.script(*made(tiny, line, body))
    assert words in str(caught.value)
    assert "--as libbpf" in str(caught.value)
    assert (caught.value.place.line if caught.value.place else 0) == place


def test_a_tracefs_script_has_fields_and_histograms(tiny: TinyKernel) -> None:
    text = tracefs.script(*made(tiny, "vfs_read --comm dd", "emit(count); hist(count, by = comm);"),
                          "reads.sh")  # fmt: skip
    assert "echo \"p:$group/vfs_read_0 vfs_read \"'count=$arg3:u64'" in text
    assert "'hist:keys=common_pid.execname,count.log2 if comm == \"dd\"'" in text
    assert "'!hist:keys=common_pid.execname,count.log2" in text


def of_a_system_call(tiny: TinyKernel, body: str, kind: Kind = "kprobe") -> tuple[Plan, Source]:
    """The same with vfs_read's arguments as those of a system call."""
    plan = tiny.plan(kind, "vfs_read", body)
    (site,) = plan.sites
    assert site.function is not None
    function = replace(site.function, convention="syscall")
    plan = replace(plan, sites=(replace(site, function=function),))
    return plan, Bpf().render(analyse(plan, tiny.compiler))


def test_a_system_calls_arguments_are_its_callers(tiny: TinyKernel) -> None:
    text = bpftrace.script(*of_a_system_call(tiny, "emit(count, pos);"))
    assert '"%lu\\t%lu\\n", ((uint64)((struct pt_regs *)arg0)->dx), ' in text
    text = bpftrace.script(*of_a_system_call(tiny, "emit(pos, retval);", "kretprobe"))
    assert "@kp_pos[tid] = ((struct pt_regs *)arg0)->r10;" in text
    with pytest.raises(kpmagic.CellError, match="'count' has no equivalent in tracefs"):
        tracefs.script(*of_a_system_call(tiny, "emit(count);"), "x.sh")


def test_each_function_has_its_own_columns(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "vfs_sync vfs_read", None)
    text = bpftrace.script(plan, Bpf().render(analyse(plan, tiny.compiler)))
    assert text.count('printf("%lu\\n"') == 1
    assert text.count('printf("%lu\\t%lu\\t%lu\\t%lu\\n"') == 1


def test_what_a_body_does_not_fit_is_not_exported(tiny: TinyKernel) -> None:
    made_of = made(tiny, "vfs_*", "emit(); sum(count);")
    for text in (bpftrace.script(*made_of), tracefs.script(*made_of, "x.sh")):
        assert "vfs_read" in text
        assert "vfs_sync" not in text


def test_defines_and_quotes(tiny: TinyKernel) -> None:
    line = "vfs_read --comm 'a\"b' -D HALF='count / 2' -D TEN=10"
    text = bpftrace.script(*made(tiny, line, "emit(half = HALF + TEN);"))
    assert 'comm == "a\\"b"' in text
    assert "((uint64)arg2) / 2 + 10" in text


@pytest.mark.parametrize(("line", "body", "words"), [
    ("vfs_read --pid 3", "count();", "--pid"),
    ("vfs_read", "count(by = pid);", "'pid'"),
    ("vfs_read", "emit(a = file->f_flags);", "'file->f_flags'"),
    ("vfs_read", "avg(count);", "'avg(count)'"),
    ("vfs_read --where 'count > 1'", "count();", "--where"),
])  # fmt: skip
def test_what_tracefs_has_not_is_named(tiny: TinyKernel, line: str, body: str, words: str) -> None:
    with pytest.raises(kpmagic.CellError) as caught:
        tracefs.script(*made(tiny, line, body), "x.sh")
    assert f"{words} has no equivalent in tracefs" in str(caught.value)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The build folder of a kernel whose headers are as Debian's packages have them."""
    texts = {
        "linux-headers-0.1-tiny-common/include/linux/fs.h":
            "struct file *open(void);\nstruct file {\n};\n",
        "linux-headers-0.1-tiny-common/include/linux/compat/file.h": "struct file {\n};\n",
        "linux-headers-0.1-tiny-common/include/linux/dcache.h":
            "struct dentry {\n};\nstruct qstr {\n};\n",
        "linux-headers-0.1-tiny-common/arch/x86/include/asm/ptrace.h": "struct dentry {\n};\n",
        "linux-headers-0.1-tiny-amd64/Makefile": "",
    }  # fmt: skip
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path.parent


def on_bcc(tiny: TinyKernel, build: Path, line: str, body: str, kind: Kind = "kprobe") -> str:
    types = (tiny.compiler.headers.directory / "vmlinux.h").read_text()
    return bcc.script(tiny.plan(kind, line, body), tiny.compiler, types, lambda: build)


def test_a_script_on_bcc_is_python_over_the_kernels_headers(
    tiny: TinyKernel, build: Path
) -> None:
    text = on_bcc(tiny, build, "vfs_read --comm dd --sample 1/3 --where 'count > 5'",
                  "// don'''t\nif (count > 7)\n\temit(n = str(file->f_path.dentry->d_name.name));\n"
                  "hist(count, by = comm);", "kretprobe")  # fmt: skip
    names: dict[str, object] = {}
    told = text.partition(": the probe\n")[2].partition("\nHEADER")[0]
    compile(text, "reads.py", "exec")
    exec(told, names)
    source = str(names["TEXT"])
    assert source.startswith("#include <uapi/linux/ptrace.h>\n"
                             "#include <linux/dcache.h>\n#include <linux/fs.h>\n")  # fmt: skip
    assert "\nif (count > 7)\n\t({ struct kp_row_0 *kp_r = kp_rows.ringbuf_reserve(" in source
    assert "comm[0] != 0x6464ULL" in source
    assert "if (!(count > 5)) { kp_hit->cpu->filtered++; return; }" in source
    assert "#line" not in source
    assert names["PROGRAMS"] == [("kp_0", "vfs_read", 0, True),
                                 ("kp_0_entry", "vfs_read", 0, False)]  # fmt: skip
    assert names["SHAPES"] == [[("n", "s", 40, 128, 0)]]


@pytest.mark.parametrize(("line", "body", "words", "place"), [
    ("vfs_read --backend kmod", "emit();\n---post---\nemit();", "---post---", 3),
    ("vfs_read --backend kmod --inject", "count();\nskip_function(-5);", "skip_function()", 3),
])  # fmt: skip
def test_what_bcc_has_not_is_named(
    tiny: TinyKernel, build: Path, line: str, body: str, words: str, place: int
) -> None:
    with pytest.raises(kpmagic.CellError, match="has no equivalent in bcc") as caught:
        on_bcc(tiny, build, line, body)
    assert words in str(caught.value)
    assert (caught.value.place.line if caught.value.place else 0) == place


def test_a_struct_that_no_header_defines_is_named(tiny: TinyKernel, build: Path) -> None:
    (build.parent / "linux-headers-0.1-tiny-common/include/linux/fs.h").unlink()
    (build.parent / "linux-headers-0.1-tiny-common/include/linux/compat/file.h").unlink()
    with pytest.raises(kpmagic.CellError, match="no header of this kernel defines 'struct file'"):
        on_bcc(tiny, build, "vfs_read", "emit(file->f_flags);")
