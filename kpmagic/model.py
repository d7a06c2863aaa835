# SPDX-License-Identifier: MIT
"""The nouns that travel from cell to table, each a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kpmagic.errors import Place
from kpmagic.record import Aggregate, Layout

Kind = Literal["kprobe", "kretprobe"]
MAX_TIME = 600_000_000_000  # ns


@dataclass(frozen=True)
class Spec:
    """A place as the user names it: ``symbol+offset``, ``module:symbol`` or ``0xaddress``."""

    text: str
    symbol: str = ""
    offset: int = 0
    module: str = ""
    address: int = 0

    @property
    def wild(self) -> bool:
        """Whether it may stand for several functions: ``vfs_*``."""
        return any(character in "*?[" for character in self.symbol)


@dataclass(frozen=True)
class Options:
    """The options of a magic; cell/options.py says what each means.

    Durations are ns, sizes bytes, ``max_overhead`` a share of one CPU; 0 in ``max_time``
    or ``max_overhead`` is no limit.
    ``defines`` are name → C text.
    """

    out: str = ""
    name: str = ""
    duration: int | None = None
    command: str | None = None
    follow: bool = False
    background: bool = False
    max_events: int = 1_000_000
    max_time: int = MAX_TIME
    where: str = ""
    pid: int = 0
    comm: str = ""
    cpu: int = -1
    sample: int = 1
    defines: tuple[tuple[str, str], ...] = ()
    backend: str = "bpf"
    maxactive: int = 0
    mechanism: str = ""
    inject: bool = False
    times: int = 0
    probability: float = 1.0
    yes_on_this_kernel: bool = False
    target: str = ""
    buffer: int = 8 << 20
    dry_run: bool = False
    rename: bool = False
    show: str = "table"
    quiet: bool = False
    save: str = ""
    wait: bool = False
    all_addresses: bool = False
    fields: tuple[str, ...] = ()
    depth: int = 0
    max_overhead: float = 0.0


@dataclass(frozen=True)
class Probe:
    """What the user asked for. ``body`` is None for the line form: every argument a column.

    ``line`` is the magic line with its ``%%kprobe``. ``body`` starts on line ``body_line`` of the
    cell named ``cell``; ``where_at`` is the column of the ``--where`` expression in the magic line
    (0: not known).
    """

    kind: Kind
    specs: tuple[Spec, ...]
    body: str | None
    options: Options = Options()
    cell: str = "cell"
    line: str = ""
    body_line: int = 2
    where_at: int = 0

    def place(self, line: int) -> Place:
        """Return a line of the cell as a place in it; `backends.origin` knows columns."""
        lines = (self.body or "").split("\n")
        number = line - self.body_line
        text = self.line if number < 0 else lines[number] if number < len(lines) else ""
        return Place(line, 0, text.replace("\t", " "), self.cell)


@dataclass(frozen=True)
class Module:
    """A kernel module as the user wrote it: ``source`` to the letter, from line ``body_line``.

    ``note`` says what --rename has changed.
    """

    name: str
    source: str
    options: Options
    cell: str = "cell"
    body_line: int = 2
    note: str = ""

    def place(self, line: int, column: int = 0) -> Place:
        """Return line and column, 1-based, of the source as a place in the cell.

        Behind a name that --rename has given a function the column is not known.
        """
        lines = self.source.split("\n")
        text = lines[line - 1].replace("\t", " ") if 1 <= line <= len(lines) else ""
        column = 0 if self.note and '"' in text[: max(column - 1, 0)] else column
        return Place(line + self.body_line - 1, column, text, self.cell)

    def place_of(self, offset: int) -> Place:
        """Return an offset of the source as a place in the cell."""
        begin = self.source.rfind("\n", 0, offset) + 1
        return self.place(self.source.count("\n", 0, offset) + 1, offset - begin + 1)


@dataclass(frozen=True)
class Parameter:
    """A function's parameter: its name, its C declaration (``char *buf``) and its BTF type id."""

    name: str
    declaration: str
    type_id: int
    size: int
    kind: str = "int"


@dataclass(frozen=True)
class Function:
    """A function's prototype from BTF; ``returns`` is C text (``ssize_t``), ``void`` for none.

    ``returns_id`` is that type's id in BTF, 0 where it is not known.

    ``convention`` ``syscall``: its arguments are in the ``struct pt_regs`` its only one points to.
    """

    name: str
    parameters: tuple[Parameter, ...]
    returns: str = "void"
    variadic: bool = False
    returns_size: int = 0
    returns_id: int = 0
    convention: Literal["c", "syscall"] = "c"


@dataclass(frozen=True)
class Chosen:
    """An expression of the line form that --fields or --depth chose; ``wild``: by a wildcard."""

    code: str
    wild: bool = False


@dataclass(frozen=True)
class Site:
    """One place where a probe is planted.

    ``note`` says how it differs from what was asked
    (``do_fork → kernel_clone: renamed _do_fork in 4.2, kernel_clone in 5.10``).
    ``exact``: its name alone would not find it, or not as fast; it is planted at ``address``.
    ``entry`` is the offset up to which nothing of the function's own code has run.
    ``chosen`` are the columns of the line form, empty for one column per argument.
    """

    spec: Spec
    symbol: str
    offset: int
    address: int
    function: Function | None
    note: str = ""
    exact: bool = False
    module: str = ""
    entry: int = 0
    chosen: tuple[Chosen, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """What a wildcard matched and is not there, a function or a column: ``why`` behind ``is``."""

    name: str
    why: str


@dataclass(frozen=True)
class Plan:
    """A probe with its places known on one kernel; ``build_id`` names that kernel.

    ``features`` are what that kernel can do, names of kernel.facts.FEATURES.
    """

    probe: Probe
    sites: tuple[Site, ...]
    release: str
    build_id: str
    cpus: int
    left_out: tuple[LeftOut, ...] = ()
    features: frozenset[str] = frozenset()

    @property
    def several(self) -> bool:
        """Whether rows say which of the places was hit: where several were asked for, too."""
        specs = self.probe.specs
        return len(self.sites) > 1 or len(specs) > 1 or any(spec.wild for spec in specs)


@dataclass(frozen=True)
class Source:
    """Generated source: path → text, and what its records look like.

    ``left_out`` are functions of a wildcard that the body does not fit. ``module`` is the name of
    the kernel module that it is built into, empty for a BPF object.
    """

    files: Mapping[str, str]
    main: str
    layouts: tuple[Layout, ...]
    record_size: int
    aggregates: tuple[Aggregate, ...]
    programs: tuple[Program, ...]
    entries: str = ""
    left_out: tuple[LeftOut, ...] = ()
    module: str = ""

    @property
    def text(self) -> str:
        """The file that everything begins with."""
        return self.files[self.main]

    @property
    def shown(self) -> str:
        """All C that is the cell's own; of several files each stands under its name."""
        files = [name for name in self.files if name.endswith(".c")]
        if len(files) < 2:
            return self.text
        return "\n".join(f"/* {name} */\n{self.files[name]}" for name in files)

    @property
    def kinds(self) -> frozenset[str]:
        """Every kind of value in its rows and keys; see `CType`."""
        fields = [field for layout in self.layouts for field in layout.fields]
        keys = [key for aggregate in self.aggregates for key in aggregate.keys]
        return frozenset(each.type.kind for each in (*fields, *keys))


@dataclass(frozen=True)
class Program:
    """One program of an object and one place where it is attached.

    A program may be attached at many places, which its ``cookie`` then tells apart.
    ``exact``: at ``address``, whatever ``symbol`` says. ``optional``: the kernel may refuse it.
    ``multi``: all such places of a program are attached at once (BPF_TRACE_KPROBE_MULTI).
    ``fentry``: it is called by a trampoline of BPF's own, and names its function in its section.
    """

    program: str
    symbol: str
    offset: int = 0
    address: int = 0
    is_return: bool = False
    cookie: int = 0
    exact: bool = False
    optional: bool = False
    multi: bool = False
    fentry: bool = False


@dataclass(frozen=True)
class Artifact:
    """A built object, ready for the agent. ``seconds`` is 0.0 when it came from the cache."""

    source: Source
    object: bytes
    compiler: str
    seconds: float
    digest: str
