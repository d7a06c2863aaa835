# SPDX-License-Identifier: MIT
"""Addresses of machines: what ssh is given, and that no part of one can be an option."""

from __future__ import annotations

import pytest

from kpmagic.connecting import connect
from kpmagic.errors import CellError
from kpmagic.targets import ssh


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ssh://host", (None, "host", None)),
        ("ssh://ada@host.example:2222", ("ada", "host.example", 2222)),
        ("ssh://root@192.0.2.7/", ("root", "192.0.2.7", None)),
        ("ssh://ada@[fe80::1%eth0]:22", ("ada", "fe80::1%eth0", 22)),
        ("ssh://build_bot-2@my_host", ("build_bot-2", "my_host", None)),
    ],
)
def test_addresses(name: str, address: tuple[str | None, str, int | None]) -> None:
    assert tuple(ssh.parse(name)) == address


@pytest.mark.parametrize(
    "name",
    [
        "ssh://", "ssh://@host", "ssh://-oProxyCommand=id", "ssh://-oProxyCommand=id@host",
        "ssh://ada@-oProxyCommand=id", "ssh://ada@ho st", "ssh://ada@host;id", "ssh://ada@$(id)",
        "ssh://ada@host:0", "ssh://ada@host:65536", "ssh://ada@host:22x", "ssh://ada@host:-22",
        "ssh://a`id`@host", "ssh://ada:secret@host", "ssh://ada@host\n-oX", "ssh:host",
        "ssh://ada@host/path", "ssh://ada@[host]", "ssh://%n@host", "ssh://ada@%h",
        "ssh://ada@host\0", "ssh://ada@host?x", "ssh://ada@@host", "ssh://" + "a" * 300,
    ],
)  # fmt: skip
def test_what_is_no_address(name: str) -> None:
    with pytest.raises(CellError, match="no address"):
        connect(name)


def test_user_and_host_stand_where_no_option_can() -> None:
    words = ssh.command(ssh.parse("ssh://ada@host:2222"))
    assert words[-5:-1] == ["-l", "ada", "--", "host"]
    assert words[words.index("-p") + 1] == "2222"
    assert "BatchMode=yes" in words
    assert words[-1].startswith("exec /usr/bin/python3 -I -S -c ")
