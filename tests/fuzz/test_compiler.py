# SPDX-License-Identifier: MIT
"""Bodies that nobody would write, through the compiler under its limits."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from amount import FULL
from compiled import TinyKernel
from spoiled import corpus, spoil

from kpmagic import build
from kpmagic.compiler import client, confine
from kpmagic.errors import BuildError, KpmagicError

BODIES = 2_000 if FULL else 60
SECONDS = client.SECONDS + 2
STEPS = (
    "emit(value);", "int n = 0;", "n += value;", "for (int i = 0; i < 9; i++) n += i;", "count();",
    "if (value > 3) return;", "emit(text = str((char *)value));", "sum(value, by = comm);",
    "struct file *f = (void *)(long)value;", "emit(f->f_pos);", "emit(n, pid, tid, comm, cpu, ts);",
    "hist(value, label = \"h\");", "lhist(value, 0, 100, 10);", "emit(kstack());", "n = n ? : 3;",
    "char name[16] = {};", "emit(a = (short)value, b = (unsigned char)n);",
    "do { n--; } while (n);",
    "switch (value) { case 1: emit(one = 1); break; default: count(x = n); }", "typeof(n) m = n;",
    "emit(x = ({ int y = value; y + 1; }));", "goto out; out: ;", "int f2(int x);", "void *p = &n;",
    "__builtin_memset(&n, 0, sizeof(n));", "emit(s = sizeof(struct file));", "*(int *)8 = 3;",
    "static int kept;", "extern int far;", "volatile int v = value; emit(v);", "emit(1.5);",
    "_Bool b = value; emit(b);", "int a[value];", "emit(p = &emit);",
    "union { int i; float f; } u;",
)  # fmt: skip


def body(chance: random.Random, bodies: list[str]) -> str:
    """Return statements put together by chance, spoilt or not."""
    if chance.random() < 0.3:
        text = chance.choice(bodies)
    else:
        text = "\n".join(chance.choice(STEPS) for _ in range(chance.randrange(1, 9)))
    return spoil(text, chance, bodies) if chance.random() < 0.4 else text


@pytest.mark.timeout(7200)
def test_bodies(tiny: TinyKernel, chance: random.Random) -> None:
    bodies = [text for _, _, text in corpus() if text]
    outcomes: dict[str, int] = {}
    slowest = 0.0
    for _ in range(BODIES):
        text = body(chance, bodies)
        kind, line = chance.choice((("kprobe", "nothing"), ("kprobe", "vfs_read"),
                                    ("kretprobe", "vfs_read")))  # fmt: skip
        if line == "vfs_read":
            text = text.replace("value", "count")
        began = time.monotonic()
        try:
            plan = tiny.plan(kind, line, text)
            source = build.render(plan, tiny.compiler)
            object_ = build.compile_source(source, tiny.compiler, plan.probe)
            assert object_.startswith(b"\x7fELF")
            outcome = "built"
        except KpmagicError as error:
            outcome = type(error).__name__ if error.message else "no message"
        except BaseException:
            print(repr((kind, line, text)))
            raise
        slowest = max(slowest, time.monotonic() - began)
        assert slowest < SECONDS, text
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(outcomes, f"slowest {slowest:.2f} s")
    assert set(outcomes) <= {"built", "CellError", "BuildError"}
    assert min(outcomes.values()) > BODIES / 40, outcomes


def refused(tiny: TinyKernel, text: str) -> BuildError:
    """Return why a body is not built."""
    plan = tiny.plan("kprobe", "nothing", text)
    with pytest.raises(KpmagicError) as caught:
        build.compile_source(build.render(plan, tiny.compiler), tiny.compiler, plan.probe)
    works(tiny)
    return caught.value  # type: ignore[return-value]


def works(tiny: TinyKernel) -> None:
    plan = tiny.plan("kprobe", "nothing", "emit(value);")
    source = build.render(plan, tiny.compiler)
    assert build.compile_source(source, tiny.compiler, plan.probe).startswith(b"\x7fELF")


def test_time_is_limited(tiny: TinyKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SECONDS", 3.0)
    began = time.monotonic()
    error = refused(tiny, "emit(value" + " + (value" * 30_000 + ")" * 30_000 + ");")
    assert time.monotonic() - began < 30
    assert str(error)


def test_memory_is_limited(tiny: TinyKernel) -> None:
    error = refused(tiny, "static char large[1ul << 34] = { 1 }; emit(x = large[value]);")
    assert str(error)


@pytest.mark.parametrize(
    "text",
    [
        '#include "/etc/passwd"', '%:include "/etc/passwd"', '??=include "/etc/passwd"',
        '_Pragma("clang include_instead(/etc/passwd)")', '__asm__(".incbin \\"/etc/passwd\\"");',
        "#embed </etc/passwd>", '_Pragma("GCC dependency \\"/etc/passwd\\"")',
        '\\\n#include "/etc/passwd"', '/**/#include "/etc/passwd"',
        'int x = __has_include("/etc/passwd"); emit(x);',
    ],
)  # fmt: skip
def test_no_files_but_its_own(tiny: TinyKernel, text: str) -> None:
    assert "root:" not in str(refused(tiny, text))


def test_the_process_cannot_read_write_or_connect(tiny: TinyKernel, tmp_path: Path) -> None:
    """What the compiler could do if it were made to: tried in a process confined like it."""
    secret = tmp_path / "secret"
    secret.write_text("of the user")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    program = f"""
import socket, sys
sys.path[:0] = {sys.path!r}
from kpmagic.compiler.confine import confine
print(confine(["/usr", "/lib", "/lib64", "/bin"], memory=4 << 30, cpu_seconds=None))
for act in (lambda: open({str(secret)!r}).read(), lambda: open({str(tmp_path / "new")!r}, "w"),
            lambda: socket.create_connection(("127.0.0.1", {port}), 2)):
    try:
        act()
    except OSError as error:
        print(type(error).__name__)
    else:
        print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True)  # fmt: skip
    listener.close()
    confined, read, written, connected = done.stdout.split()
    if confined != "True":
        pytest.skip("this machine's kernel has no Landlock")
    assert (read, written) == ("PermissionError", "PermissionError")
    if confine.landlock() >= 4:
        assert connected == "PermissionError"


@pytest.mark.parametrize("already", [False, True])
def test_a_compiler_that_crashes_is_an_error(tiny: TinyKernel, already: bool) -> None:
    works(tiny)
    process = tiny.compiler._process
    assert process is not None
    os.kill(process.pid, signal.SIGABRT)
    if already:  # its end of the pipe is closed before the request is written
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(BuildError, match=r"signal 6|ended"):
        tiny.compiler.analyse("static void f(void) {}", "f")
    works(tiny)


def test_a_compiler_that_hangs_is_stopped(
    tiny: TinyKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(tiny)
    process = tiny.compiler._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(client, "SECONDS", 1.0)
    with pytest.raises(BuildError, match="took longer"):
        tiny.compiler.analyse("static void f(void) {}", "f")
    assert not psutil.pid_exists(process.pid) or process.poll() is not None
    monkeypatch.undo()
    works(tiny)


def test_two_threads_ask_at_once(tiny: TinyKernel) -> None:
    wrong: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(5):
                works(tiny)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
