# SPDX-License-Identifier: MIT
"""Probe + KernelFacts → Plan, and every reason a place cannot be probed."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kpmagic.cell.syntax import parse_probe, parse_spec
from kpmagic.errors import SymbolError
from kpmagic.kernel.btf import Btf
from kpmagic.kernel.facts import KernelFacts
from kpmagic.kernel.kallsyms import Kallsyms
from kpmagic.kernel.probeable import Blacklist, Traceable
from kpmagic.kernel.suggest import glob_near, similar
from kpmagic.model import Kind, Plan, Probe, Site, Spec
from kpmagic.resolve import needs_modules, resolve

KALLSYMS = b"""\
0000000000001000 A irq_stack_backing_store
ffffffff81000000 T _stext
ffffffff81002000 t do_int3
ffffffff81003000 t do_int3.cold
ffffffff810a0a60 T kernel_clone
ffffffff810dcf60 t finish_task_switch.isra.0
ffffffff810dd000 t only_part.part.0
ffffffff810dd080 t only_part.cold
ffffffff81120250 t name_show
ffffffff813669e0 T vfs_read
ffffffff81366cf0 T vfs_readv
ffffffff81400000 t name_show
ffffffff81a53000 T __schedule
ffffffff81b00000 T _raw_spin_lock
ffffffff81c00000 T cold_user
ffffffff81c01000 t cold_user.cold
ffffffff81d00000 T last_function
ffffffff82000000 D jiffies
ffffffff82f00000 T _sinittext
ffffffff82f01000 T start_kernel
ffffffff82fff000 T _einittext
"""
MODULES = b"""\
ffffffffc0001000 t nft_do_chain\t[nf_tables]
ffffffffc0001200 t name_show\t[nf_tables]
"""
TRACEABLE = b"""\
kernel_clone
finish_task_switch.isra.0
only_part.part.0
name_show
vfs_read
vfs_readv
_raw_spin_lock
cold_user
last_function
"""
TYPES = """
struct file;
long vfs_read(struct file *file, char *buf, unsigned long count, long long *pos) { return *buf; }
int finish_task_switch(void *previous) { return previous != 0; }
int cold_user(int cold) { return cold; }
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> KernelFacts:
    home = tmp_path_factory.mktemp("facts")
    (home / "t.c").write_text(TYPES)
    command = ["clang-19", "-target", "bpf", "-g", "-O2", "-c", "t.c", "-o", "t.o"]
    subprocess.run(command, cwd=home, check=True)
    with open(home / "t.o", "rb") as file:
        section = ELFFile(file).get_section_by_name(".BTF")
        assert section is not None
        data = section.data()
    return KernelFacts(
        release="6.1.0-56-amd64",
        machine="x86_64",
        build_id="00" * 20,
        cpus=2,
        btf=Btf(data),
        btf_file=home / "btf",
        symbols=Kallsyms(KALLSYMS),
        traceable=Traceable.parse(TRACEABLE),
        blacklist=Blacklist.parse(b"0xffffffff81002000-0xffffffff81002050\tdo_int3\n"),
        inline={"get_page": "include/linux/mm.h"},
    )


@pytest.fixture(scope="module")
def full(facts: KernelFacts) -> KernelFacts:
    """The same with a module's symbols."""
    return replace(
        facts,
        symbols=Kallsyms(KALLSYMS + MODULES),
        traceable=Traceable.parse(TRACEABLE + b"nft_do_chain [nf_tables]\nname_show [nf_tables]\n"),
        modules_read=True,
    )


def spec(text: str) -> Spec:
    """Return the Spec of ``symbol+offset``, ``module:symbol`` or ``0xaddress``."""
    if text.startswith("0x"):
        return Spec(text, address=int(text, 16))
    module, _, rest = text.rpartition(":")
    symbol, _, offset = rest.partition("+")
    return Spec(text, symbol, int(offset or "0", 0), module)


def plan(facts: KernelFacts, *texts: str, kind: Kind = "kprobe") -> Plan:
    return resolve(Probe(kind, tuple(map(spec, texts)), "emit();"), facts)


def site(facts: KernelFacts, text: str, kind: Kind = "kprobe") -> Site:
    return plan(facts, text, kind=kind).sites[0]


def test_by_name(facts: KernelFacts) -> None:
    found = site(facts, "vfs_read")
    assert (found.symbol, found.offset, found.address) == ("vfs_read", 0, 0xFFFFFFFF813669E0)
    assert found.function is not None
    assert [p.name for p in found.function.parameters] == ["file", "buf", "count", "pos"]
    assert found.note == ""


def test_plan_names_the_kernel(facts: KernelFacts) -> None:
    made = plan(facts, "vfs_read", "kernel_clone")
    assert [s.symbol for s in made.sites] == ["vfs_read", "kernel_clone"]
    assert (made.release, made.build_id, made.cpus) == ("6.1.0-56-amd64", "00" * 20, 2)


@pytest.mark.parametrize(
    ("text", "symbol", "offset"),
    [
        ("vfs_read+0x9", "vfs_read", 9),
        ("0xffffffff813669e9", "vfs_read", 9),
        ("0xffffffff813669e0", "vfs_read", 0),
        ("0xffffffff81400000", "name_show", 0),
        ("cold_user.cold", "cold_user.cold", 0),
        ("finish_task_switch.isra.0", "finish_task_switch.isra.0", 0),
    ],
)
def test_places(facts: KernelFacts, text: str, symbol: str, offset: int) -> None:
    found = site(facts, text)
    assert (found.symbol, found.offset) == (symbol, offset)


def test_renamed(facts: KernelFacts) -> None:
    found = site(facts, "do_fork", "kretprobe")
    assert found.symbol == "kernel_clone"
    assert found.note == "do_fork → kernel_clone: renamed _do_fork in 4.2, kernel_clone in 5.10"


def test_arguments_of_what_the_compiler_split_off(facts: KernelFacts) -> None:
    assert site(facts, "finish_task_switch.isra.0").function is not None
    assert site(facts, "cold_user.cold").function is None
    assert site(facts, "only_part.part.0").function is None


def test_module(full: KernelFacts) -> None:
    assert site(full, "nf_tables:nft_do_chain").address == 0xFFFFFFFFC0001000
    assert site(full, "nft_do_chain").symbol == "nft_do_chain"
    assert site(full, "nf_tables:name_show").address == 0xFFFFFFFFC0001200


def test_needs_modules(facts: KernelFacts, full: KernelFacts) -> None:
    def needs(text: str, known: KernelFacts = facts) -> bool:
        return needs_modules(Probe("kprobe", (spec(text),), None), known)

    assert needs("nf_tables:nft_do_chain")
    assert needs("nft_do_chain")
    assert needs("0xffffffffc0001000")
    assert not needs("nft_do_chain", full)
    for text in ("vfs_read", "do_fork", "get_page", "finish_task_switch", "0xffffffff813669e0"):
        assert not needs(text)


ERRORS: list[tuple[str, Kind, str, str]] = [
    (
        "vfs_raed",
        "kprobe",
        "no function 'vfs_raed' in this kernel (6.1.0-56-amd64)",
        "did you mean vfs_read, vfs_readv? %kp symbols 'vfs_*' lists all",
    ),
    (
        "zzzz",
        "kprobe",
        "no function 'zzzz' in this kernel (6.1.0-56-amd64)",
        "%kp symbols 'zzz*' lists all",
    ),
    (
        "account_page_dirtied",
        "kprobe",
        "no function 'account_page_dirtied' in this kernel (6.1.0-56-amd64): renamed "
        "folio_account_dirtied in 5.16, and not there by that name either",
        "%kp symbols 'account_*'",
    ),
    (
        "finish_task_switch",
        "kprobe",
        "'finish_task_switch' is inlined: only the compiler's variant of it is left, "
        "finish_task_switch.isra.0",
        "probe finish_task_switch.isra.0",
    ),
    (
        "only_part",
        "kprobe",
        "'only_part' is inlined: only part of it is left, only_part.part.0, only_part.cold",
        "its arguments are not known by name there",
    ),
    (
        "get_page",
        "kprobe",
        "'get_page' is inlined: a 'static inline' of include/linux/mm.h, which the compiler "
        "folds into its callers",
        "probe a function that calls it",
    ),
    (
        "__schedule",
        "kprobe",
        "'__schedule' is notrace: it is not in available_filter_functions",
        "keeps it out of tracing",
    ),
    (
        "start_kernel",
        "kprobe",
        "'start_kernel' is gone: it runs only while the kernel starts (__init)",
        "freed",
    ),
    ("do_int3", "kprobe", "'do_int3' is on the kernel's kprobe blacklist", "without end"),
    ("do_int3.cold", "kprobe", "'do_int3.cold' is on the kernel's kprobe blacklist", "refuses"),
    ("0xffffffff81002004", "kprobe", "'do_int3' is on the kernel's kprobe blacklist", "refuses"),
    (
        "name_show",
        "kprobe",
        "2 functions are called 'name_show'",
        "choose one by its address or module: 0xffffffff81120250, 0xffffffff81400000",
    ),
    ("jiffies", "kprobe", "'jiffies' is data, not a function", "a probe needs code"),
    (
        "vfs_read+0x310",
        "kprobe",
        "vfs_read+0x310 is behind the function's end",
        "'vfs_read' has 0x310 bytes",
    ),
    (
        "vfs_read+0x9",
        "kretprobe",
        "a return probe has no offset: vfs_read+0x9",
        "%%kretprobe vfs_read",
    ),
    (
        "_raw_spin_lock",
        "kretprobe",
        "a return probe on '_raw_spin_lock' can hang the machine: the probe's own bookkeeping "
        "takes spin locks",
        "bpftrace",
    ),
    ("0x1234", "kprobe", "no function at 0x1234 in this kernel (6.1.0-56-amd64)", "every boot"),
    ("nf_tables:nft_do_chain", "kprobe", "module 'nf_tables' is not loaded", "modprobe nf_tables"),
    (
        "vfsread_*",
        "kprobe",
        "no function matches 'vfsread_*' in this kernel (6.1.0-56-amd64)",
        "%kp symbols 'vfsread_*'",
    ),
    (
        "__sch*",
        "kprobe",
        "none of the 1 functions '__sch*' stands for can be probed: '__schedule' is notrace",
        "call them",
    ),
    ("vfs_*+4", "kprobe", "'vfs_*+4': a pattern cannot have an offset", "offset"),
    ("nf_tables:nft_*", "kprobe", "module 'nf_tables' is not loaded", "modprobe nf_tables"),
]


@pytest.mark.parametrize(("text", "kind", "message", "hint"), ERRORS)
def test_errors(facts: KernelFacts, text: str, kind: Kind, message: str, hint: str) -> None:
    with pytest.raises(SymbolError) as caught:
        site(facts, text, kind)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_error_as_the_user_sees_it(facts: KernelFacts) -> None:
    with pytest.raises(SymbolError) as caught:
        site(facts, "vfs_raed")
    assert caught.value._render_traceback_() == [
        "SymbolError: no function 'vfs_raed' in this kernel (6.1.0-56-amd64)\n"
        "  hint: did you mean vfs_read, vfs_readv? %kp symbols 'vfs_*' lists all"
    ]


def test_errors_with_modules(full: KernelFacts) -> None:
    with pytest.raises(SymbolError, match="no function 'nft_chain' in module 'nf_tables'"):
        site(full, "nf_tables:nft_chain")
    with pytest.raises(SymbolError, match="3 functions are called") as caught:
        site(full, "name_show")
    assert "nf_tables:name_show" in caught.value.hint


def test_entry_probe_on_a_spin_lock_is_allowed(facts: KernelFacts) -> None:
    assert site(facts, "_raw_spin_lock").symbol == "_raw_spin_lock"


def test_hidden_addresses(facts: KernelFacts) -> None:
    text = re.sub(rb"(?m)^[0-9a-f]{16}", b"0" * 16, KALLSYMS)
    hidden = replace(facts, symbols=Kallsyms(text), blacklist=Blacklist.parse(
        b"0x0000000000000000-0x0000000000000000\tdo_int3\n"))  # fmt: skip
    assert (site(hidden, "vfs_read").address, site(hidden, "vfs_read+0x9").address) == (0, 0)
    blind = site(hidden, "0xffffffff813669e9")
    assert (blind.symbol, blind.address) == ("", 0xFFFFFFFF813669E9)
    with pytest.raises(SymbolError, match="blacklist"):
        site(hidden, "do_int3")
    with pytest.raises(SymbolError, match="2 functions are called") as caught:
        site(hidden, "name_show")
    assert "kptr_restrict" in caught.value.hint


def test_without_tracefs_nothing_is_called_notrace(facts: KernelFacts) -> None:
    assert site(replace(facts, traceable=None), "__schedule").symbol == "__schedule"


def test_suggestions_are_fast_and_near() -> None:
    known = [f"subsystem{i % 97}_operation_{i}" for i in range(150_000)] + ["vfs_read"]
    begin = time.perf_counter()
    assert similar("vfs_raed", known) == ["vfs_read"]
    assert time.perf_counter() - begin < 0.5
    assert similar("vfs_r", ["vfs_readlink_long", "vfs_rmdir_x"]) == [
        "vfs_rmdir_x",
        "vfs_readlink_long",
    ]
    assert similar("", known) == []


@pytest.mark.parametrize(
    ("name", "glob"),
    [("vfs_raed", "vfs_*"), ("__vfs_read", "*vfs_*"), ("zzzz", "zzz*"), ("a", "a*")],
)
def test_glob_near(name: str, glob: str) -> None:
    assert glob_near(name) == glob


def test_facts_file_is_not_needed_to_resolve(facts: KernelFacts) -> None:
    assert not Path(facts.btf_file).exists()
    assert site(facts, "vfs_read")


def _wild(facts: KernelFacts, *texts: str, kind: Kind = "kprobe") -> Plan:
    return resolve(Probe(kind, tuple(map(parse_spec, texts)), None), facts)


def test_a_wildcard_is_every_function_it_matches(facts: KernelFacts) -> None:
    plan = _wild(facts, "vfs_*")
    assert [site.symbol for site in plan.sites] == ["vfs_read", "vfs_readv"]
    assert plan.sites[0].function is not None
    assert plan.sites[1].function is None
    assert all(site.exact for site in plan.sites)
    assert plan.left_out == ()


@pytest.mark.parametrize("pattern", ["vfs_rea[a-d]", "vfs_rea?", "vfs_rea[!e]"])
def test_wildcards_are_the_shells(facts: KernelFacts, pattern: str) -> None:
    assert [site.symbol for site in _wild(facts, pattern).sites] == ["vfs_read"]


def test_a_wildcard_says_what_it_leaves_out(facts: KernelFacts) -> None:
    plan = _wild(facts, "*s[tcp]*", kind="kretprobe")
    assert "name_show" not in {site.symbol for site in plan.sites}
    left_out = {each.name: each.why for each in plan.left_out}
    assert left_out["_raw_spin_lock"] == "known to hang machines when it is probed"
    assert left_out["start_kernel"] == "gone since the kernel has started (__init)"
    assert left_out["__schedule"] == "notrace"


def test_a_wildcard_takes_all_functions_of_one_name_and_no_parts(facts: KernelFacts) -> None:
    assert [site.symbol for site in _wild(facts, "name_*").sites] == ["name_show", "name_show"]
    assert [site.symbol for site in _wild(facts, "cold_*").sites] == ["cold_user"]


def test_a_function_named_twice_is_probed_once(facts: KernelFacts) -> None:
    plan = _wild(facts, "vfs_readv", "vfs_*")
    assert [site.symbol for site in plan.sites] == ["vfs_readv", "vfs_read"]
    assert not plan.sites[0].spec.wild


def test_too_many_functions_are_refused(facts: KernelFacts) -> None:
    lines = "".join(f"ffffffff82{i:06x} t many_{i}\n" for i in range(0, 5000 * 16, 16))
    many = replace(facts, symbols=Kallsyms(lines.encode()), traceable=None)
    with pytest.raises(SymbolError, match="stands for 5,000 functions; a probe takes at most"):
        _wild(many, "many_*")
    assert len(_wild(many, "many_1*").sites) == sum(
        str(i).startswith("1") for i in range(0, 80000, 16)
    )


def test_all_functions_of_a_name_when_that_is_asked(facts: KernelFacts) -> None:
    probe = parse_probe("kprobe", "name_show --all-addresses", "emit(func);")
    plan = resolve(probe, facts)
    assert [site.symbol for site in plan.sites] == ["name_show", "name_show"]
    assert len({site.address for site in plan.sites}) == 2
    assert all(site.exact for site in plan.sites)


def test_arguments_of_a_compilers_variant_are_not_trusted(facts: KernelFacts) -> None:
    found = site(facts, "finish_task_switch.isra.0")
    assert found.function is not None
    assert "the compiler may pass them otherwise" in found.note
