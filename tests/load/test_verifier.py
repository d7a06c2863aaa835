# SPDX-License-Identifier: MIT
"""The verifier of this machine's own kernel on what is generated; nothing is attached here."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest
from compiled import TinyKernel

from kpmagic import build
from kpmagic.agent.objects import SENTENCE, WALK, Object
from kpmagic.agent.refusal import Refused
from kpmagic.errors import VerifierError
from kpmagic.model import Artifact, Kind, Plan
from kpmagic.verifier import explain

pytestmark = pytest.mark.load

_BPF_PROG_LOAD = 5
_NR_BPF = 321


def _may_load() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_NR_BPF, _BPF_PROG_LOAD, None, 0)
    return ctypes.get_errno() != 1  # EPERM


@pytest.fixture(autouse=True)
def _permitted() -> None:
    if not _may_load():
        pytest.skip("this user may not load BPF programs on this machine (EPERM)")


def artifact(tiny: TinyKernel, plan: Plan) -> Artifact:
    source = build.render(plan, tiny.compiler)
    return Artifact(source, tiny.compiler.compile(source.text), "", 0.0, "")


def load(made: Artifact, log_level: int = WALK) -> None:
    object_ = Object(made.object)
    try:
        object_.load(log_level)
    finally:
        object_.close()


ACCEPTED = {
    "empty": ("kprobe", "nothing", ""),
    "nothing emitted": ("kprobe", "nothing", "emit();"),
    "return anywhere": ("kprobe", "nothing", "if (value) return; emit(value); return 0;"),
    "every option": (
        "kprobe",
        "vfs_read --where 'count > 3' --pid 4 --comm cat --cpu 1 --sample 1/7",
        "emit(count);",
    ),
    "strings": (
        "kprobe",
        "vfs_read",
        "emit(a = str(file->f_path.dentry->d_name.name, 1000), b = user_str(buf), file->label,"
        " raw = file->f_path.dentry->d_iname, comm, func);",
    ),
    "deep and wide": (
        "kprobe",
        "vfs_read",
        "struct dentry *d = file->f_path.dentry; int i;\n"
        "for (i = 0; i < 4; i++) d = d->d_parent;\n"
        "emit(d->d_name.len, file->mode, file->level, file->is_open, file->ready, file->color,"
        " file->inner->depth, file->small, file->numbers[3], *pos, *(int *)buf);",
    ),
    "structs as values": (
        "kprobe",
        "vfs_read",
        "struct path p = file->f_path; emit(p.dentry->d_name.len, &p.dentry->d_name);",
    ),
    "a return": ("kretprobe", "vfs_read", "emit(retval, latency, count, *pos);"),
    "all aggregations": (
        "kretprobe",
        "vfs_read",
        "count(); count(by = comm); sum(retval); avg(retval, cpu = cpu); min(retval);"
        " max(latency, file = str(file->f_path.dentry->d_name.name), c = comm);"
        " hist(latency); hist(retval, by = tid); lhist(count, 0, 4096, 128);",
    ),
    "several sites": ("kprobe", "vfs_read nothing", "emit(func, pid, ts);"),
    "a user's own regs": (
        "kprobe",
        "vfs_read",
        "struct pt_regs *regs = (void *)file; emit(regs->di);",
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_verifier_accepts(name: str, tiny: TinyKernel) -> None:
    kind, line, body = ACCEPTED[name]
    load(artifact(tiny, tiny.plan(kind, line, body)))  # type: ignore[arg-type]


REFUSED: dict[str, tuple[Kind, str, int, str]] = {
    "out of bounds": (
        "kprobe",
        "char b[8] = {};\n\nemit(x = b[value]);",
        4,
        "",
    ),
    "a raw dereference behind the walk's back": (
        "kprobe",
        "int v;\n__builtin_memcpy(&v, (void *)(long)value, 4);\nemit(v);",
        3,
        "invalid mem access",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_line_and_quotes_the_verifier(name: str, tiny: TinyKernel) -> None:
    kind, body, line, sentence = REFUSED[name]
    plan = tiny.plan(kind, "nothing", body)
    made = artifact(tiny, plan)
    with pytest.raises(Refused) as caught:
        load(made)
    error = explain(caught.value.error["log"], "kp_0", made, plan.probe, "nothing")
    assert isinstance(error, VerifierError)
    assert error.place is not None
    assert (error.place.line, error.place.cell) == (line, "In[4]")
    assert error.place.text == body.split("\n")[line - 2]
    assert sentence in error.message
    assert "processed" not in error.message


def test_an_endless_loop_is_refused_in_a_second(tiny: TinyKernel) -> None:
    body = "int i = 0;\nwhile (1) { i += value; if (i == 3) break; }\nemit(i);"
    plan = tiny.plan("kprobe", "nothing", body)
    made = artifact(tiny, plan)
    with pytest.raises(Refused) as caught:
        load(made, SENTENCE)
    error = explain(caught.value.error["log"], "kp_0", made, plan.probe, "nothing")
    assert "too large" in error.message or "infinite loop" in error.message
    assert "bound" in error.hint
    assert len(caught.value.error["log"]) < 1000


def test_a_log_without_instructions_gives_an_error_without_a_place(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "nothing", "emit(value);")
    error = explain("", "kp_0", replace(artifact(tiny, plan), object=b""), plan.probe, "nothing")
    assert error.place is None
    assert error.message == "the kernel's verifier refused the program"


def test_the_verifier_gets_no_more_time_than_others_can_spare(
    tiny: TinyKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpmagic.agent.objects.VERIFIER_SECONDS", 0.05)
    plan = tiny.plan(
        "kprobe", "nothing", "int i = 0;\nwhile (1) { i += value; if (i == 3) break; }"
    )
    made = artifact(tiny, plan)
    with pytest.raises(Refused) as caught:
        load(made, SENTENCE)
    error = explain(caught.value.error["log"], "kp_0", made, plan.probe, "nothing")
    assert "too complex" in error.message
    assert "bound every loop" in error.hint
