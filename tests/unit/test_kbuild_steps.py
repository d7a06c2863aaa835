# SPDX-License-Identifier: MIT
"""What Kbuild finds out for one module is used for the next: the real make, a small Kbuild."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from runs import until

from kpmagic.compiler import kbuild, kbuild_steps, kbuild_work
from kpmagic.compiler.kbuild import Kbuild, KbuildFailed
from kpmagic.errors import BuildError

TOP = """\
export FOUND := $(shell echo asked >&2; echo found it)
modules:
	$(MAKE) -f $(CURDIR)/scripts/Makefile.build obj=$(M)
	$(MAKE) -f $(CURDIR)/scripts/Makefile.modpost
"""
BUILD = """\
all:
	test ! -e $(obj)/wrong.c || { echo 'wrong.c:1:2: error: wrong' >&2; false; }
	@echo 'KCFLAGS is $(KCFLAGS)'
	printf '%s, %s' '$(FOUND)' "$$(cat $(obj)/m.c)" > $(obj)/m.o
"""
MODPOST = """\
include scripts/link
all:
	$(MAKE) -f scripts/Makefile.modfinal
"""
MODFINAL = "all:\n\tcp $(M)/m.o $(M)/m.ko\n"
GCC, VERSION = "/usr/bin/gcc", "12.2.0"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel's build folder, and a cache in which nothing is."""
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "usr/src/headers"
    (folder / "scripts").mkdir(parents=True)
    (folder / "Makefile").write_text(TOP)
    for name, text in (("build", BUILD), ("modpost", MODPOST), ("modfinal", MODFINAL)):
        (folder / f"scripts/Makefile.{name}").write_text(text)
    (folder / "scripts/link").touch()
    return folder


def build(tree: Path, text: str = "int i;", version: str = VERSION, file: str = "m.c") -> str:
    """Build a module; return what Kbuild said."""
    built = kbuild.build(Kbuild(tree, GCC, version), "m", {"m.c": text, file: text}, None)
    assert built.object.decode() == f"found it, {text}"
    return built.log


def kept_at(tree: Path) -> Path:
    """Return where the steps are kept."""
    return kbuild_steps.place(tree, VERSION, *Kbuild(tree, GCC, VERSION).settings)


SLEEPING = "all:\n\tsleep 1000\n"
NOTEBOOK = """
import sys
from pathlib import Path
from kpmagic.compiler import kbuild
kbuild.build(kbuild.Kbuild(Path(sys.argv[1]), "/usr/bin/gcc", "12.2.0"), "m", {"m.c": ""}, None)
"""


def test_a_build_ends_with_its_notebook_and_the_next_sweeps(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    built = (tree / "scripts/Makefile.build").read_text()
    (tree / "scripts/Makefile.build").write_text(SLEEPING)
    notebook = subprocess.Popen([sys.executable, "-c", NOTEBOOK, str(tree)],
                                env=os.environ | {"TMPDIR": str(tmp_path)})  # fmt: skip
    children: list[psutil.Process] = []

    def sleeps() -> bool:
        children[:] = psutil.Process(notebook.pid).children(recursive=True)
        return any(each.name() == "sleep" for each in children)

    until(sleeps)
    notebook.kill()
    notebook.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    (left,) = tmp_path.glob(f"{kbuild_work.NAME}*")
    (tree / "scripts/Makefile.build").write_text(built)
    build(tree)
    assert left.exists()  # it may just have been made
    os.utime(left, (1, 1))
    build(tree)
    assert not left.exists()


def test_a_build_that_goes_on_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with kbuild_work.working({"m.c": ""}) as work:
        os.utime(work, (1, 1))
        with kbuild_work.working({"n.c": ""}):
            assert (work / "m.c").exists()
    assert list(tmp_path.iterdir()) == []


def test_gcc_is_asked_once_for_a_kernel(tree: Path) -> None:
    assert "asked" in build(tree)
    said = build(tree, "int j;")
    assert "asked" not in said
    assert "KCFLAGS is -Wno-attributes -fdiagnostics-column-unit=byte" in said


def test_other_headers_in_the_same_folder_are_asked_for_anew(tree: Path) -> None:
    build(tree)
    (tree / "Makefile").write_text(TOP + "\n")
    assert "asked" in build(tree)


@pytest.mark.parametrize("version", ["12.3.0", "14.2.0"])
def test_another_gcc_is_asked_anew(tree: Path, version: str) -> None:
    build(tree)
    assert "asked" in build(tree, version=version)


def test_what_the_module_itself_gets_wrong_is_not_tried_twice(tree: Path) -> None:
    build(tree)
    with pytest.raises(KbuildFailed) as caught:
        build(tree, file="wrong.c")
    assert "asked" not in caught.value.log


def test_a_build_that_fails_is_not_learned_from(tree: Path) -> None:
    with pytest.raises(BuildError):
        build(tree, file="wrong.c")
    assert "asked" in build(tree)


def test_steps_that_lead_nowhere_are_learned_anew(tree: Path) -> None:
    build(tree)
    place = kept_at(tree)
    steps = kbuild_steps.read(place)
    assert steps is not None
    assert [each.arguments[1].rpartition(".")[2] for each in steps.steps] == ["build", "modpost"]
    kbuild_steps.write(place, kbuild_steps.Steps(steps.work, (
        kbuild_steps.Step("/", ("-f", "/nowhere"), {}), *steps.steps)))  # fmt: skip
    assert "asked" in build(tree)
    assert "asked" not in build(tree)


@pytest.mark.parametrize("damage", [b"", b"\xff\n", b"0\n[]"])
def test_damaged_steps_are_learned_anew(tree: Path, damage: bytes) -> None:
    build(tree)
    kept_at(tree).write_bytes(damage)
    assert "asked" in build(tree)
    assert "asked" not in build(tree)


def test_steps_are_their_user_s_alone_and_hold_nothing_of_one_start(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_SECRET", "of the notebook's own environment")
    build(tree)
    place = kept_at(tree)
    assert place.stat().st_mode & 0o777 == 0o600
    text = place.read_text(errors="replace")
    for word in ("KPMAGIC_SECRET", "jobserver", kbuild_steps.RECORDER):
        assert word not in text
