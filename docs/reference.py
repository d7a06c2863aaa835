# SPDX-License-Identifier: MIT
"""The reference's pages, made from the code each time the documentation is built.

``python docs/reference.py FOLDER`` writes them; docs/conf.py does so at the start of a build.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from raised import Raised, raised

import kpmagic
from kpmagic import errors
from kpmagic.cell import options, scope, vocabulary
from kpmagic.channel.refusals import ATTACH
from kpmagic.kp.commands import SUBCOMMANDS
from kpmagic.magics import KpmagicMagics
from kpmagic.run import Run

# what a Run sets when it is made, and so has no docstring
ATTRIBUTES = {
    "info": "A dictionary of what else is known: kernel release, symbols and addresses, mechanism, "
    "backend, options, compiler.",
    "name": "The probe's name: `--name`, or its symbol.",
    "options": "The options it was given, as a `kpmagic.model.Options`.",
}
HEAD = "<!-- made by docs/reference.py: change the code it was made from -->"


def cell(text: str) -> str:
    """Return text that stands in a table of Markdown as it is."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def code(text: str) -> str:
    """Return text as code in a table of Markdown."""
    return f"`{' '.join(text.split())}`".replace("|", "\\|") if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table of Markdown; its texts are Markdown already."""
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def magics() -> Iterator[str]:
    """Each magic with its docstring, as ``?`` shows it."""
    yield "# Magics\n"
    yield "`%load_ext kpmagic` makes these known; nothing starts before the first of them runs.\n"
    for name in magic_names():
        text = inspect.getdoc(getattr(KpmagicMagics, name)) or ""
        summary, _, rest = text.partition("\n")
        yield f"## {name}\n\n{summary}\n"
        if rest.strip():
            yield f"```text\n{rest.strip(chr(10))}\n```\n"


def magic_names() -> list[str]:
    """Return the names of all magics."""
    return sorted({name for kind in KpmagicMagics.magics.values() for name in kind})


def option_pages() -> Iterator[str]:
    """Each option: how it is written in a cell and in Python, which magics take it."""
    yield "# Options\n"
    yield "No option can be abbreviated. In Python and from a shell they are the same options.\n"
    yield from table(
        ("option", "in Python", "what it does", "taken by"),
        ((code(each.spelling if each.flag or each.short else f"-D {each.metavar}"),
          code(each.keyword), cell(each.help), cell(taken_by(each)))
         for each in options.OPTIONS),
    )  # fmt: skip
    yield "## Together\n"
    yield from table(("these two", "cannot be meant together, because"),
                     ((f"{code(a)} {code(b)}", cell(why))
                      for a, b, why in options.CONTRADICTIONS))  # fmt: skip
    yield from table(("this", "needs", "so"), ((code(a), code(b), cell(todo))
                                               for a, b, todo in options.NEEDS))  # fmt: skip


def taken_by(option: options.Option) -> str:
    """Return which magics take an option."""
    kinds = [name for kind, name in (("kprobe", "probes"), ("kmodule", "%%kmodule"))
             if options.is_of(option, kind)]  # fmt: skip
    return ", ".join(kinds)


def body() -> Iterator[str]:
    """What a handler's body may say."""
    yield "# The body\n"
    yield (
        "A body is statements of C, as they stand in the kernel. The function's parameters are in "
        "scope by name with the types the kernel itself gives them (BTF), and so is what follows; "
        "a parameter of the same name wins.\n"
    )
    yield "## Values\n"
    types = {"func_size": "N", "retval": "… retval"}
    yield from table(("name", "in C", "what it is"),
                     ((code(each.name), code(each.declaration.format(**types)),
                       cell(each.meaning + (" (return probes)" if each.only_return else "")))
                      for each in scope.BUILTINS.values()))  # fmt: skip
    yield "## Words\n"
    yield from table(("written", "what it does"),
                     ((code(word.usage), cell(word.meaning))
                      for word in vocabulary.WORDS))  # fmt: skip
    yield (
        "`label = \"name\"` among an aggregation's arguments names its table in `run.aggregates`. "
        "`return;` leaves the handler early.\n"
    )


def subcommands() -> Iterator[str]:
    """What ``%kp`` and ``python -m kpmagic`` do."""
    yield "# %kp and the shell\n"
    yield "What is marked works as `python -m kpmagic SUBCOMMAND` too.\n"
    yield from table(("%kp", "what it does", "shell"),
                     ((code(each.usage), cell(each.help), "yes" if each.shell else "")
                      for each in SUBCOMMANDS))  # fmt: skip


def python() -> Iterator[str]:
    """The public names of the package, and the members of a Run."""
    yield "# Python\n"
    for name in public_names():
        thing = getattr(kpmagic, name)
        yield f"## kpmagic.{name}\n\n```python\n{name}{signature(thing)}\n```\n"
        yield f"{documentation(thing)}\n"
    yield "## Members of a Run\n"
    yield from table(("member", "what it is"),
                     ((code(name), cell(text)) for name, text in rows_of_run()))  # fmt: skip


def public_names() -> list[str]:
    """Return the public functions and classes that are neither errors nor IPython's hooks."""
    return [
        name for name in kpmagic.__all__
        if not name.startswith("__") and not name.endswith("_extension") and name != "Run"
        and not (inspect.isclass(getattr(kpmagic, name))
                 and issubclass(getattr(kpmagic, name), errors.KpmagicError))
        and not inspect.ismodule(getattr(kpmagic, name))
    ]  # fmt: skip


def members(cls: type) -> list[tuple[str, object]]:
    """Return the public members of a class by name."""
    return [(name, member) for name, member in inspect.getmembers(cls)
            if not name.startswith("_") and documentation(member)]  # fmt: skip


def rows_of_run() -> list[tuple[str, str]]:
    """Return each member of a Run with its first sentence."""
    said = {name: documentation(member).partition("\n\n")[0] for name, member in members(Run)}
    return sorted((said | ATTRIBUTES).items())


def documentation(thing: object) -> str:
    """Return a docstring with Markdown's code marks in place of reStructuredText's."""
    return (inspect.getdoc(thing) or "").replace("``", "`")


def signature(thing: object) -> str:
    """Return how it is called."""
    written = str(inspect.signature(thing))  # type: ignore[arg-type]
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", written)


def error_classes() -> list[type[errors.KpmagicError]]:
    """Return the tree of errors, a parent before its children."""
    found: list[type[errors.KpmagicError]] = []

    def walk(cls: type[errors.KpmagicError]) -> None:
        found.append(cls)
        for child in cls.__subclasses__():
            if child.__module__ == errors.__name__:
                walk(child)

    walk(errors.KpmagicError)
    return found


def error_pages() -> Iterator[str]:
    """Each class of errors with its messages, and what to do."""
    yield "# Errors\n"
    yield (
        "Every failure is one of these. `…` stands for what differs from case to case: a name, a "
        "number, the kernel's or a compiler's own words. The second column is the hint below it.\n"
    )
    said = {*raised(), *(Raised("AttachError", *each) for each in ATTACH.values())}
    for cls in error_classes():
        parents = [parent.__name__ for parent in cls.__mro__[1:] if parent in error_classes()]
        yield f"## {cls.__name__}\n\n{documentation(cls)}"
        yield f" A kind of {', '.join(parents)}.\n" if parents else "\n"
        mine = sorted(each for each in said if each.error == cls.__name__)
        if mine:
            yield from table(("message", "what to do"),
                             ((cell(each.message), cell(each.hint)) for each in mine))  # fmt: skip


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "magics": magics,
    "options": option_pages,
    "body": body,
    "commands": subcommands,
    "python": python,
    "errors": error_pages,
}


def page(name: str) -> str:
    """Return a page as Markdown."""
    return "\n".join((HEAD, *PAGES[name]()))


def write(folder: Path) -> None:
    """Write all pages; one that is as it was is left alone, so that a build is quick."""
    folder.mkdir(exist_ok=True)
    for name in PAGES:
        path, text = folder / f"{name}.md", page(name)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
