# SPDX-License-Identifier: MIT
"""Addresses of processes to files, and files' symbols, on programs that are really there."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from kpmagic.agent import mappings
from kpmagic.agent.hello import possible_cpus
from kpmagic.agent.identified import identity_at
from kpmagic.errors import TargetError
from kpmagic.userland.images import Images
from kpmagic.userland.memory import File, Memory

PROGRAM = Path(__file__).parents[1] / "kernel/workloads/deep.c"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("programs")
    kinds = {
        "pie": ("-pie",),
        "fixed": ("-no-pie",),
        "bare": ("-s",),
        "nameless": ("-Wl,--build-id=none",),
    }
    for name, options in kinds.items():
        command = ["gcc", "-O1", "-fno-omit-frame-pointer", *options, "-o", str(folder / name)]
        subprocess.run([*command, str(PROGRAM)], check=True)
    return {name: folder / name for name in kinds}


def offsets(path: Path) -> dict[str, int]:
    """Return where in a file its functions begin, by pyelftools."""
    with path.open("rb") as file:
        elf: Any = ELFFile(file)
        code = next(s for s in elf.iter_segments("PT_LOAD") if s["p_flags"] & 1)
        return {each.name: each["st_value"] - code["p_vaddr"] + code["p_offset"]
                for each in elf.get_section_by_name(".symtab").iter_symbols()
                if each["st_info"]["type"] == "STT_FUNC" and each["st_size"]}  # fmt: skip


@pytest.mark.parametrize("kind", ["pie", "fixed", "nameless"])
def test_functions_have_their_names_to_the_last_byte(programs: dict[str, Path], kind: str) -> None:
    path = programs[kind]
    file = File(str(path), identity_at(str(path)))
    images, begins = Images(), offsets(path)
    assert {"main", "middle", "innermost"} <= begins.keys()
    for name in ("main", "middle", "innermost"):
        assert images.name(file, begins[name]) == images.name(file, begins[name] + 4) == name
    assert images.name(file, 0) == ""


def test_of_a_stripped_program_nothing_is_known(programs: dict[str, Path]) -> None:
    path = programs["bare"]
    middle = offsets(programs["pie"])["middle"]
    assert Images().name(File(str(path), identity_at(str(path))), middle) == ""


def test_an_identity_is_the_build_id(programs: dict[str, Path]) -> None:
    with programs["pie"].open("rb") as file:
        notes: Any = ELFFile(file).get_section_by_name(".note.gnu.build-id")
        (note,) = notes.iter_notes()
    assert identity_at(str(programs["pie"])) == note["n_desc"]
    assert identity_at(str(programs["pie"])) != identity_at(str(programs["bare"]))
    stamp = programs["nameless"].stat()
    assert identity_at(str(programs["nameless"])) == f"{stamp.st_size}-{stamp.st_mtime_ns}"


def test_another_file_of_that_name_is_not_believed(programs: dict[str, Path]) -> None:
    other = File(str(programs["pie"]), identity_at(str(programs["fixed"])))
    offset = offsets(programs["fixed"])["middle"]
    assert Images().name(other, offset) == ""
    asked = []

    def read(path: str, size: int) -> bytes:
        asked.append(path)
        return programs["fixed"].read_bytes()

    there = Images(read)
    assert there.name(other, offset) == there.name(other, offset + 1) == "middle"
    assert asked == [str(programs["pie"])]


def test_a_file_that_is_being_read_holds_up_no_other_name() -> None:
    """What is read comes through a thread that gives rows their names, too."""

    def read(path: str, size: int) -> bytes:
        reader = threading.Thread(target=images.name, args=(File("", ""), 0), daemon=True)
        reader.start()
        reader.join(5)
        late.append(reader.is_alive())
        raise TargetError("gone")

    late: list[bool] = []
    images = Images(read)
    assert images.name(File("/not/here", "abcd"), 0) == ""
    assert late == [False]


def test_a_target_that_is_gone_leaves_names_out() -> None:
    def read(path: str, size: int) -> bytes:
        raise TargetError("it is gone")

    assert Images(read).name(File("/nowhere/at/all", "00ff"), 5) == ""


def test_a_file_of_any_bytes_has_no_names_and_breaks_nothing(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    whole = programs["pie"].read_bytes()
    random.seed(5)
    for number in range(300):
        broken = bytearray(whole[: random.randrange(64, len(whole))])
        for _ in range(random.randrange(1, 40)):
            broken[random.randrange(min(len(broken), 1024))] = random.randrange(256)
        path = tmp_path / f"broken{number}"
        path.write_bytes(broken)
        Images().name(File(str(path), identity_at(str(path))), random.randrange(len(whole)))


def frame(*events: list[Any], lost: int = 0) -> dict[str, Any]:
    files = [[0, "/bin/one", "a"], [1, "/lib/two", "b"], [2, "[vdso]", ""], [3, "//anon", ""]]
    return {"events": list(events), "files": files, "lost": lost}


def memory() -> Memory:
    return Memory(
        lambda file, offset: f"{file.path}@{offset:#x}" if file.path == "/bin/one" else ""
    )


def test_an_address_is_in_what_was_mapped_there() -> None:
    found = memory()
    found.feed(
        frame(
            ["map", 1, 7, 0x1000, 0x1000, 0x500, 0],
            ["map", 2, 7, 0x4000, 0x100, 0, 1],
            ["map", 3, 7, 0x5000, 0x100, 0, 2],
            ["map", 3, 7, 0x6000, 0x100, 0, 3],
        )
    )
    assert found.name(7, 0x1010) == "/bin/one@0x510"
    assert found.name(7, 0x40FF) == "[two]"
    assert found.name(7, 0x4100) == ""
    assert found.name(7, 0x5001) == "[vdso]"
    assert found.name(7, 0x6001) == "[anon]"
    assert found.name(8, 0x1010) == ""


def test_a_child_has_its_parents_memory_until_it_is_another_program() -> None:
    found = memory()
    # as two CPUs' rings may bring it: what happened first comes last
    found.feed(
        frame(["map", 40, 8, 0x5000, 0x100, 0, 2], ["map", 30, 8, 0x1000, 0x1000, 0x7000, 0],
              ["fork", 10, 8, 7], ["exec", 20, 8])
    )  # fmt: skip
    found.feed(frame(["map", 5, 7, 0x1000, 0x1000, 0, 1], ["map", 6, 7, 0x9000, 0x1000, 0, 0]))
    assert numbers(found, 8, 9, 10, 19, 20, 39, 40) == [1, 1, 1, 2, 2, 3]
    parents, exec_, own = ([found.name(8, at, number) for at in (0x1001, 0x9001, 0x5001)]
                           for number in (1, 2, 3))  # fmt: skip
    assert parents == exec_ == ["[two]", "/bin/one@0x1", ""]  # in an exec code is still the old
    assert own == ["/bin/one@0x7001", "", "[vdso]"]
    assert found.name(8, 0x1001, 4) == ""
    assert found.name(7, 0x1001) == "[two]"
    assert numbers(found, 7, 5, 40) == [0, 0]


def numbers(found: Memory, pid: int, *times: int) -> list[int]:
    rows = np.full(len(times), pid, np.uint64)
    return list(found.programs().numbers(rows, np.array(times)))


def test_programs_of_one_process_keep_their_numbers_when_more_comes() -> None:
    found = memory()
    found.feed(frame(["map", 5, 7, 0x1000, 0x100, 0x100, 0]))
    assert numbers(found, 7, 6) == [0]
    found.feed(frame(["exec", 20, 7], ["map", 21, 7, 0x1000, 0x100, 0x200, 0]))
    assert numbers(found, 7, 6, 30) == [1, 2]
    assert found.name(7, 0x1000, 2) == "/bin/one@0x200"  # without a vdso there is no more to come
    found.feed(frame(["map", 22, 7, 0x5000, 0x100, 0, 2], ["exec", 50, 7]))
    assert numbers(found, 7, 6, 21, 22, 49, 50) == [1, 2, 3, 3, 4]
    assert [found.name(7, 0x1000, number) for number in (1, 2, 3, 4)] == [
        "/bin/one@0x100", "/bin/one@0x100", "/bin/one@0x200", "/bin/one@0x200"
    ]  # fmt: skip


def test_a_process_that_nobody_saw_begin_was_another_program_before_its_exec() -> None:
    found = memory()
    found.feed(frame(["exec", 20, 7], ["map", 21, 7, 0x1000, 0x100, 0, 0]))
    assert numbers(found, 7, 19, 21) == [1, 2]
    assert found.name(7, 0x1000, 1) == ""


def test_files_of_a_run_that_starts_again_are_its_own() -> None:
    found = memory()
    found.feed(frame(["map", 1, 7, 0x1000, 0x100, 0, 0]))
    found.feed({"events": [], "files": [[0, "/lib/other", "c"]], "lost": 0})
    assert found.name(7, 0x1000) == "/bin/one@0x0"


def test_the_living_are_seen_with_their_files() -> None:
    me = os.getpid()
    own = [each for each in mappings.living() if each.pid == me]
    libc = next(each for each in own if "libc.so" in each.path)
    found = os.stat(libc.path)
    assert libc.inode == found.st_ino
    assert libc.size > 0
    assert possible_cpus() > 0
    assert mappings.identity(me, libc.path) == identity_at(libc.path)
    assert mappings.identity(me, "[heap]") == mappings.identity(me, "//anon") == ""


def test_the_living_are_as_old_as_the_look_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an exec maps meanwhile comes after it, and is not covered by what was before."""
    looked: list[int] = []

    def opened(*args: Any) -> Any:
        looked.append(time.monotonic_ns())
        return open(*args)

    monkeypatch.setattr(mappings, "open", opened, raising=False)
    for each in mappings.living():
        assert each.time <= looked[-1]
    assert looked


def test_this_machines_libc_has_names() -> None:
    me = os.getpid()
    libc = next(e for e in mappings.living() if e.pid == me and "libc.so" in e.path)
    images, found = Images(), Memory(lambda file, offset: images.name(file, offset))
    found.feed({"events": [["map", *libc[:5], 0]], "lost": 0,
                "files": [[0, libc.path, identity_at(libc.path)]]})  # fmt: skip
    address = ctypes.cast(ctypes.CDLL(None).getsid, ctypes.c_void_p).value
    assert address is not None
    assert found.name(me, address) == "getsid"
