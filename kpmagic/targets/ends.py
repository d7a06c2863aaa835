# SPDX-License-Identifier: MIT
"""Why an agent did not come: what sudo, ssh or Python said → the error a user sees. One table."""

from __future__ import annotations

import re
from typing import NamedTuple

from kpmagic.errors import KpmagicError, MissingDependency, NotPermitted, TargetError

SUDO = """\
sudo must not ask: echo '{user} ALL=(root) NOPASSWD: /usr/bin/python3' | sudo tee /etc/sudoers.d/kpmagic
with that line {user} can become root without a password; the sandbox needs no rights: \
%kp target sandbox"""  # noqa: E501  # one command, to be copied
SYSCTL = """\
sudo sysctl kernel.perf_event_paranoid=2
or root: a notebook server started by root, or sudo without a password"""
ASK_ONCE = "connect once in a terminal, and answer what it asks: {command}"


class Rule(NamedTuple):
    """``pattern`` in what was said → an error with a hint; the first rule that fits counts."""

    pattern: str
    error: type[TargetError | MissingDependency]
    hint: str


RULES = (
    Rule("perf_event_paranoid is", NotPermitted, SYSCTL),
    Rule("sudo: .*(password|terminal) is required|sudo: .*no tty", NotPermitted, SUDO),
    Rule("is not in the sudoers|not allowed to (execute|run)|may not run sudo", NotPermitted, SUDO),
    Rule("no new privileges", NotPermitted,
         "this process may never gain rights: start the notebook server another way, or as root"),
    Rule("kpmagic: sudo: ", NotPermitted,
         "be root, or have sudo there: apt-get install sudo    (as root)"),
    Rule("sudo: ", NotPermitted, SUDO),
    Rule("Host key verification failed|REMOTE HOST IDENTIFICATION", TargetError, ASK_ONCE),
    Rule("Permission denied \\(", NotPermitted,
         "ssh must not ask for a password: ssh-copy-id {destination}, or ssh-add for a key with "
         "a passphrase"),
    Rule("Could not resolve hostname", TargetError, "check the name: ssh://user@host[:port]"),
    Rule("Connection refused|timed out|No route to host|Network is unreachable", TargetError,
         "is it up, and does sshd listen there? try: {command}"),
    Rule("python3?: (No such file|not found|command not found)|python3: No such file",
         MissingDependency, "on the target: apt-get install python3"),
    Rule("Python 3.9 or newer", MissingDependency, "on the target: a newer /usr/bin/python3"),
    Rule("account is currently not available|This account", NotPermitted,
         "this user has no shell there: choose another"),
)  # fmt: skip


def why(
    said: str, *, what: str, user: str, command: str = "", destination: str = ""
) -> KpmagicError:
    """Return the error for an agent of ``what`` that did not come, from what was ``said``."""
    for rule in RULES:
        if re.search(rule.pattern, said):
            hint = rule.hint.format(user=user, command=command, destination=destination)
            return rule.error(f"{what}: {_last_line(said, rule.pattern)}", hint=hint)
    hint = f"try it in a terminal: {command}" if command else "%kp target sandbox needs no rights"
    return TargetError(f"{what}: {said or 'no word from the agent'}", hint=hint)


def _last_line(said: str, pattern: str) -> str:
    """Return the line that says it."""
    return next(line.strip() for line in said.splitlines() if re.search(pattern, line))
