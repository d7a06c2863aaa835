# SPDX-License-Identifier: MIT
"""No compiler runs as root where the kernel does not keep it from root's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpmagic.compiler import client, confine, kbuild
from kpmagic.compiler.client import Compiler
from kpmagic.compiler.kbuild_worker import UNCONFINED
from kpmagic.compiler.toolchain import Clang, Headers
from kpmagic.errors import NotPermitted

# says what a confined process does of itself, and answers once
WORKER = """\
#!/bin/sh
echo '{"confined": %s}'
read line && echo '{"edits": []}'
"""


@pytest.mark.parametrize(
    ("confined", "user", "runs"),
    [("true", 0, True), ("true", 1000, True), ("false", 1000, True), ("false", 0, False)],
)
def test_clang_runs_as_root_only_when_it_is_confined(
    confined: str, user: int, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = tmp_path / "python"
    worker.write_text(WORKER % confined)
    worker.chmod(0o700)
    monkeypatch.setattr(client.sys, "executable", str(worker))
    monkeypatch.setattr(confine.os, "geteuid", lambda: user)
    compiler = Compiler(Headers(tmp_path, Clang("clang", "19.1.7", "libclang.so")))
    try:
        if runs:
            assert compiler.analyse("", "nothing") == {"edits": []}
        else:
            with pytest.raises(NotPermitted, match="as root here") as caught:
                compiler.start()
            assert caught.value.hint
            assert compiler._process is None
    finally:
        compiler.close()


def test_kbuild_says_the_same(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted) as caught:
        kbuild._built(tmp_path, "m", UNCONFINED, "")
    assert str(caught.value) == str(confine.unsafe())


def test_a_kernel_has_a_version_of_landlock_or_none() -> None:
    assert confine.landlock() >= 0
