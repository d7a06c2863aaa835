# SPDX-License-Identifier: MIT
"""%kp export: a cell as stand-alone source is built, run on a real kernel, and counts the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import Guests
from IPython.core.interactiveshell import InteractiveShell

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.compiler.kbuild import kbuild_in
from kpmagic.compiler.kbuild_work import STACK
from kpmagic.modules.build import headers_of
from kpmagic.run import Run

GIVE_HEADERS = Path(__file__).parents[2] / "bench/guest/give_headers.sh"
READS = "dd if=/dev/zero of=/dev/null bs=10 count=10007"
BODY = "emit(count, comm);\ncount(by = comm); hist(count);  // the same in every language"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is in the sandbox too."""
    path = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix="exported-"))
    yield path
    shutil.rmtree(path)


def export(run: Run, language: str, folder: Path) -> Path:
    """Export as the magic does."""
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    kpmagic.use(run.connection)
    result = shell.run_cell(f"%kp export {run.name} --as {language} {folder}")
    result.raise_error()
    (made,) = folder.iterdir()
    return made


def output(sandbox: Connection, command: str, folder: Path) -> str:
    """Run a command there; return what it printed."""
    said: list[tuple[str, str]] = []
    code = sandbox.run(command, lambda *piece: said.append(piece), cwd=str(folder))
    assert code == 0, "".join(text for _, text in said)
    return "".join(text for stream, text in said if stream == "stdout")


@pytest.fixture
def run(sandbox: Connection) -> Run:
    """A run to be exported."""
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("kpmagic")
    kpmagic.use(sandbox)
    shell.run_cell(f"%%kprobe vfs_read --name reads --comm dd -o run --while '{READS}'\n{BODY}")
    found: Run = shell.user_ns["run"]
    assert found.aggregates["hist(count)"]["count"].iloc[0] == 10007
    return found


def numbers(run: Run) -> tuple[int, dict[int, int]]:
    """Return what the run counted: hits of dd, and the histogram by lower bound."""
    table = run.aggregates["hist(count)"]
    count = int(run.aggregates["count(by = comm)"]["count"].iloc[0])
    return count, dict(zip(table.low.tolist(), table["count"].tolist(), strict=True))


def test_as_libbpf(run: Run, sandbox: Connection, folder: Path) -> None:
    made = export(run, "libbpf", folder)
    done = subprocess.run(["make", "-C", str(made)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    said = output(sandbox, f"./{made.name} {READS}", made)
    check_program(said, run)


def check_program(said: str, run: Run) -> None:
    """What a program prints is what the run has counted."""
    count, buckets = numbers(run)
    assert f"#count(by = comm)\tby\tcount\ndd\t{count}\n" in said
    assert len(re.findall(r"^\d+\.\d{9}\t\d+\t\d+\t\d+\tdd\t\d+$", said, re.M)) == run.stats.rows
    found = re.findall(r"^(\d+)\t\d+\t(\d+)$", said.partition("#hist")[2], re.M)
    assert {int(low): int(number) for low, number in found} == buckets
    hits, rows, filtered, sampled, dropped = map(
        int, said.partition("dropped\n")[2].split("\n")[0].split("\t")
    )
    assert hits == rows + filtered + sampled + dropped
    assert rows == run.stats.rows


def make_module(made: Path, sandbox: Connection) -> None:
    """Build as its Makefile says, against the headers of the guest's kernel."""
    release = str(sandbox.hello["release"])
    headers = headers_of(sandbox.target, release, print)
    (made / STACK[0]).write_text(STACK[1])  # the tools of these headers read it: see kernel_headers
    command = ["make", "-C", str(made), f"KDIR={headers}", *kbuild_in(headers).settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ": warning: " not in done.stderr


def test_as_module(run: Run, sandbox: Connection, folder: Path) -> None:
    made = export(run, "module", folder)
    make_module(made, sandbox)
    said = output(sandbox, f"./{made.name} {READS}", made)
    check_program(said, run)
    assert "reads_probes" not in output(sandbox, "cat /proc/modules", made)
    # its reader killed, the module is planted nowhere, and the next reader takes its place
    output(sandbox, f"./{made.name} sleep 60 & sleep 1; kill -9 $!; sleep 0.2", made)
    assert "vfs_read" not in output(sandbox, "cat /sys/kernel/debug/kprobes/list", made)
    check_program(output(sandbox, f"./{made.name} {READS}", made), run)


@pytest.fixture(scope="module")
def headers(guests: Guests, fetched_kernel: str) -> Iterator[Path]:
    """The headers of the guest's kernel, in a folder that it sees."""
    sandbox = guests.running(fetched_kernel)
    release = str(sandbox.hello["release"])
    path = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix="exported-headers-"))
    found = headers_of(sandbox.target, release, print).parent
    subprocess.run(["cp", "-a", "--reflink=auto", f"{found}/.", str(path)], check=True)
    shutil.copy(GIVE_HEADERS, path)
    yield path
    shutil.rmtree(path)


def with_bcc(sandbox: Connection, script: Path, command: str, headers: Path) -> str:
    """Run a script on BCC, which finds the headers where their package has them."""
    inside = f"sh {headers}/{GIVE_HEADERS.name} {headers} && ./{script.name} {command}"
    return output(sandbox, f"unshare --mount sh -c '{inside}'", script.parent)


def test_as_bcc(run: Run, sandbox: Connection, folder: Path, headers: Path) -> None:
    made = export(run, "bcc", folder)
    check_program(with_bcc(sandbox, made, READS, headers), run)
    assert "vfs_read" not in output(sandbox, "cat /sys/kernel/debug/kprobes/list", folder)


def test_a_return_with_its_entry_on_bcc(
    sandbox: Connection, folder: Path, headers: Path
) -> None:
    body = ("if (retval == 10) emit(retval, latency, name = str(file->f_path.dentry->d_name.name),"
            " mode = file->f_path.dentry->d_inode->i_mode);\n"
            "avg(retval, by = comm); lhist(count, 0, 100, 5);")  # fmt: skip
    run = kpmagic.retprobe("vfs_read", body, target=sandbox, name="returns", command=READS,
                           follow=True)  # fmt: skip
    mode = int(run.df()["mode"].iloc[0])
    said = with_bcc(sandbox, export(run, "bcc", folder), READS, headers)
    assert len(re.findall(rf"\tdd\t10\t\d+\tzero\t{mode}$", said, re.M)) == 10007
    entries, unpaired = map(int, said.partition("#entries\tunpaired\n")[2].split()[:2])
    assert entries >= 10007
    assert unpaired == 0
    assert "\n10\t15\t10007\n" in said
    assert "standalone" not in output(sandbox, "ls /sys/fs/cgroup", folder)


@pytest.mark.parametrize("language", ["libbpf", "module"])
def test_a_return_with_its_entry(language: str, sandbox: Connection, folder: Path) -> None:
    body = "if (retval == 10) emit(retval, latency, count);\navg(retval, by = comm); max(count);"
    run = kpmagic.retprobe("vfs_read", body, target=sandbox, name="returns", command=READS,
                           follow=True)  # fmt: skip
    made = export(run, language, folder)
    if language == "module":
        make_module(made, sandbox)
    else:
        subprocess.run(["make", "-C", str(made)], capture_output=True, check=True)
    said = output(sandbox, f"./returns {READS}", made)
    assert len(re.findall(r"\t10\t\d+\t10$", said, re.M)) == 10007
    entries, unpaired = map(int, said.partition("#entries\tunpaired\n")[2].split()[:2])
    assert entries >= 10007
    assert unpaired == 0
    assert "#max(count)\tvalue\n4096" in said


def test_as_bpftrace(run: Run, sandbox: Connection, folder: Path) -> None:
    made = export(run, "bpftrace", folder)
    said = output(sandbox, f"bpftrace {made.name} -c '/bin/{READS}'", folder)
    count, buckets = numbers(run)
    assert f"@count_by_comm[dd]: {count}" in said
    assert re.search(rf"\[8, 16\) +{buckets[8]} ", said)
    lost = sum(map(int, re.findall(r"Lost (\d+) events", said)))
    assert len(re.findall(r"^\d+$", said, re.M)) + lost <= count


def test_a_system_call_as_bpftrace(sandbox: Connection, folder: Path) -> None:
    run = kpmagic.probe("sys_openat", "emit(path = user_str(filename));", target=sandbox,
                        name="opens", command="true")  # fmt: skip
    if "btf: yes" not in output(sandbox, "bpftrace --info 2>&1", folder):
        pytest.skip("bpftrace reads no types of this kernel")
    made = export(run, "bpftrace", folder)
    said = output(sandbox, f"bpftrace {made.name} -c '/bin/cat /etc/hostname'", folder)
    assert "\n/etc/hostname\n" in said


def test_as_tracefs(run: Run, sandbox: Connection, folder: Path) -> None:
    made = export(run, "tracefs", folder)
    if not run.connection.facts().symbols.find("event_hist_trigger"):
        with pytest.raises(AssertionError, match="has no histograms of events"):
            output(sandbox, f"./{made.name} {READS}", folder)
        pytest.skip("this kernel has no histograms of events (CONFIG_HIST_TRIGGERS)")
    said = output(sandbox, f"./{made.name} {READS}", folder)
    count, buckets = numbers(run)
    assert len(re.findall(r"\bvfs_read_0: .*count=\d+$", said, re.M)) == count
    assert re.search(rf"common_pid: dd +\[ *\d+\] }} hitcount: +{count}\n", said)
    assert re.search(rf"count: ~ 2\^4 +}} hitcount: +{buckets[8]}\n", said)
    left = output(sandbox, "cat /sys/kernel/tracing/kprobe_events; "
                  "ls /sys/kernel/tracing/instances", folder)  # fmt: skip
    assert left == ""
