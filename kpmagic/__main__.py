# SPDX-License-Identifier: MIT
"""The same path from a shell: ``python -m kpmagic probe vfs_read --body 'emit(count);' --for 2s``.

Exit codes: 0 done, 1 it failed, 2 it was written wrong.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .cell.options import OPTIONS, help_text, is_of
from .errors import CellError, KpmagicError

if TYPE_CHECKING:
    from .model import Kind, Probe
    from .run import Run

KINDS: dict[str, Kind] = {"probe": "kprobe", "retprobe": "kretprobe"}
NOT_HERE = ("out", "background")
FORMATS = ("text", "csv", "json")


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    try:
        return _do(arguments[0], arguments[1:])
    except KpmagicError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, CellError) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        _close()


def usage() -> str:
    """Return the help text."""
    from .kp.commands import SUBCOMMANDS

    lines = [
        "python -m kpmagic probe SPEC… [--body C] [--kernel V] [--format text|csv|json] …",
        "python -m kpmagic retprobe SYMBOL… (likewise)",
        "python -m kpmagic trampoline SPEC… (likewise): what a probe makes of the kernel's code",
    ]
    lines += [f"python -m kpmagic {each.usage:<24} {each.help}" for each in SUBCOMMANDS
              if each.shell]  # fmt: skip
    shown = [option for option in OPTIONS if is_of(option, "kprobe")]
    kept = [line for option, line in zip(shown, help_text().splitlines(), strict=True)
            if option.field not in NOT_HERE]  # fmt: skip
    return "\n".join([*lines, "", "without --for or --while a probe runs until Ctrl-C", *kept])


def _do(word: str, rest: list[str]) -> int:
    from .session import session

    session.progress = _progress
    if word in KINDS:
        return _probe(KINDS[word], rest)
    if word == "trampoline":
        return _trampoline(rest)
    from .kp.commands import find

    subcommand = find(word)
    kernel = _taken(rest, "--kernel", subcommand.raw)
    target = _taken(rest, "--target", subcommand.raw)
    if not subcommand.shell:
        raise CellError(f"{word!r} is for notebooks", hint="python -m kpmagic lists the others")
    subcommand.check(rest)
    if kernel is not None:
        session.use("sandbox", kernel=kernel)
    elif target is not None:
        session.use(target)
    result = subcommand.function([" ".join(rest)] if subcommand.raw else rest)
    if isinstance(result, int):
        return result
    if result is not None:
        print(result)
    return 0


def _probe(kind: Kind, words: list[str]) -> int:
    body = _taken(words, "--body")
    chosen = _taken(words, "--format") or "text"
    if chosen not in FORMATS:
        raise CellError(f"--format {chosen}: one of {', '.join(FORMATS)} is needed")
    run = _started(kind, words, body)
    if not run.options.dry_run:
        run.finish()
    PRINT[chosen](run)
    return 1 if run.state == "failed" or run.stopped_by == "target-lost" else 0


def _trampoline(words: list[str]) -> int:
    """Plant a probe, show what it has made of the code, take it out again."""
    from .kp.probed_code import settled

    with _started("kprobe", words, "count();") as run:
        print(settled(run))
    return 0


def _started(kind: Kind, words: list[str], body: str | None) -> Run:
    from .session import session
    from .starting import start

    kernel = _taken(words, "--kernel")
    asked = _parsed(kind, words, body)
    target = asked.options.target or None
    return start(asked, session.use("sandbox", kernel=kernel) if kernel
                 else session.connection(target))  # fmt: skip


def _parsed(kind: Kind, words: list[str], body: str | None) -> Probe:
    from .cell.syntax import parse_probe

    asked = parse_probe(kind, shlex.join(words), body, cell="command line")
    if asked.options.out or asked.options.background:
        raise CellError("-o and --bg are for notebooks", hint="a shell has > and &")
    return asked if body is None else replace(asked, cell="--body", body_line=1, where_at=0)


def _taken(words: list[str], flag: str, raw: bool = False) -> str | None:
    """Take ``flag VALUE`` (or ``flag=VALUE``) out of ``words``; return the value.

    ``raw``: only from their beginning, the rest is a command of the user's.
    """
    for at, word in enumerate(words[:1] if raw else words):
        if word == flag:
            if at + 1 == len(words):
                raise CellError(f"{flag} needs a value")
            value = words[at + 1]
            del words[at : at + 2]
            return value
        if word.startswith(f"{flag}="):
            del words[at]
            return word.partition("=")[2]
    return None


def _text(run: Run) -> None:
    if not run.options.quiet:
        print(run)


def _csv(run: Run) -> None:
    run.df().to_csv(sys.stdout, index=False)


def _json(run: Run) -> None:
    run.df().to_json(sys.stdout, orient="records", lines=True, date_format="iso", date_unit="ns")


PRINT: dict[str, Callable[[Any], None]] = {"text": _text, "csv": _csv, "json": _json}


def _progress(text: str) -> None:
    print(f"{text} …", file=sys.stderr)


def _close() -> None:
    # nothing was opened where the session was not even imported
    module = sys.modules.get(f"{__package__}.session")
    if module is not None:
        module.session.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
