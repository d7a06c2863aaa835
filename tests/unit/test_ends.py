# SPDX-License-Identifier: MIT
"""What sudo, ssh and Python say when there is no agent, and what becomes of it."""

from __future__ import annotations

import pytest

from kpmagic.errors import KpmagicError, MissingDependency, NotPermitted, TargetError
from kpmagic.targets.ends import why

SAID = [
    ("sudo: a password is required", NotPermitted, "NOPASSWD"),
    ("sudo: a terminal is required to read the password; either use the -S option to read from "
     "standard input or configure an askpass helper", NotPermitted, "ada ALL=(root)"),
    ("ada is not in the sudoers file.", NotPermitted, "NOPASSWD"),
    ("Sorry, user ada is not allowed to execute '/usr/bin/python3 -I' as root on box.",
     NotPermitted, "NOPASSWD"),
    ('sudo: The "no new privileges" flag is set, which prevents sudo from running as root.',
     NotPermitted, "never gain rights"),
    ("kpmagic: sudo: No such file or directory", NotPermitted, "apt-get install sudo"),
    ("kpmagic: perf_event_paranoid is 3 here: CAP_BPF and CAP_PERFMON are not enough\n"
     "sudo: a password is required", NotPermitted, "sysctl"),
    ("No ED25519 host key is known for host and you have requested strict checking.\n"
     "Host key verification failed.", TargetError, "ssh ada@host"),
    ("ada@host: Permission denied (publickey,password).", NotPermitted, "ssh-copy-id ada@host"),
    ("ssh: Could not resolve hostname host: Name or service not known", TargetError, "name"),
    ("ssh: connect to host host port 22: Connection refused", TargetError, "ssh ada@host"),
    ("ssh: connect to host host port 22: Connection timed out", TargetError, "ssh ada@host"),
    ("bash: line 1: /usr/bin/python3: No such file or directory", MissingDependency, "python3"),
    ("sh: 1: exec: /usr/bin/python3: not found", MissingDependency, "python3"),
    ("kpmagic: Python 3.9 or newer is needed, this is 3.6.8", MissingDependency, "newer"),
    ("This account is currently not available.", NotPermitted, "shell"),
    ("something new", TargetError, "ssh ada@host"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "error", "hint"), SAID)
def test_each_has_its_error_and_a_next_step(
    said: str, error: type[KpmagicError], hint: str
) -> None:
    found = why(said, what="there", user="ada", command="ssh ada@host", destination="ada@host")
    assert type(found) is error
    assert hint in found.hint
    assert any(line in found.message for line in said.splitlines())


def test_silence_is_told_too() -> None:
    found = why("", what="there", user="ada")
    assert "no word from the agent" in found.message
    assert found.hint
