# SPDX-License-Identifier: MIT
"""What is kept is read as it was written, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpmagic.whole import keep, kept


@pytest.mark.parametrize("content", [b"", b"\0", b"object\n" * 1000])
def test_what_is_kept_is_its_users_alone_and_comes_back(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept"
    keep(path, content)
    assert kept(path) == content
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_damaged_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    assert kept(path) is None
    keep(path, b"content")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert kept(path) is None
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert kept(path) is None
