# SPDX-License-Identifier: MIT
"""A module goes into a kernel that is not the sandbox's only when somebody has spelled it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from far_end import FarEnd

import kpmagic
from kpmagic.channel.connection import Connection
from kpmagic.compiler.kbuild import Kbuild
from kpmagic.errors import MissingDependency, NotPermitted
from kpmagic.modules.build import headers_of
from kpmagic.targets.local import Local


def open_kernel(end: FarEnd, run: int, message: dict[str, Any], _: bytes) -> None:
    """Answer ``read`` as a kernel that takes modules."""
    end.reply(run, message, {"size": 0}, b"")


@pytest.fixture
def far() -> Any:
    end = FarEnd({"read": open_kernel})
    with Connection(end) as connection:
        connection.wait_for_hello()
        yield end, connection


@pytest.mark.parametrize("name", ["local", "ssh://root@there"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_it_is_refused(far: Any, name: str, dry_run: bool) -> None:
    end, connection = far
    end.name = name
    before = len(end.asked)
    with pytest.raises(NotPermitted, match="--yes-on-this-kernel"):
        kpmagic.module("hello", "int x;\n", target=connection, dry_run=dry_run)
    with pytest.raises(NotPermitted, match="--yes-on-this-kernel"):
        kpmagic.probe("vfs_read", "count();", target=connection, backend="kmod", dry_run=dry_run)
    assert [asked for asked in end.asked[before:] if asked["do"] != "ping"] == []


def test_spelled_out_it_is_built_for_the_kernel_that_runs(far: Any) -> None:
    end, connection = far
    end.name = "local"
    with pytest.raises(MissingDependency, match=r"linux-headers-6\.1\.0-test"):
        kpmagic.module("hello", "int x;\n", target=connection, yes_on_this_kernel=True)


def test_its_headers_are_those_of_the_system() -> None:
    with pytest.raises(MissingDependency, match="sudo apt-get install linux-headers-0-none"):
        headers_of(Local.__new__(Local), "0-none", print)


def test_headers_of_another_kernel_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpmagic.modules.build.SYSTEM", tmp_path)
    folder = tmp_path / "6.1.0-test/build"
    (folder / "include/generated").mkdir(parents=True)
    (folder / "Makefile").touch()
    release = folder / "include/generated/utsrelease.h"
    release.write_text('#define UTS_RELEASE "6.1.0-other"\n')
    with pytest.raises(MissingDependency, match=r"headers of kernel '6\.1\.0-other'"):
        headers_of(Local.__new__(Local), "6.1.0-test", print)
    release.write_text('#define UTS_RELEASE "6.1.0-test"\n')
    assert headers_of(Local.__new__(Local), "6.1.0-test", print) == folder


def test_what_the_system_has_is_readable_already() -> None:
    assert Kbuild(Path("/usr/src/linux-headers-6.1"), "gcc", "12").readable == []
    kept = Path("/home/x/.cache/k/usr/src/linux-headers-6.1")
    assert Kbuild(kept, "gcc", "12").readable == [Path("/home/x/.cache/k")]
