# SPDX-License-Identifier: MIT
"""Which clang there is, and the kernel's types precompiled for it."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kpmagic.errors import BuildError, MissingDependency
from kpmagic.kernel.btf_types import Kind, Types

OLDEST = 14
NEWEST = 19  # the newest whose AST the bindings we depend on know

KERNEL = "kernel.pch"
PRECOMPILED = ("kpmagic.bpf.h", "record.h", "body.h", "errno.h", "members.h")

FLAGS = (
    "-target",
    "bpf",
    "-O2",
    "-g",
    "-mcpu=v2",
    "-std=gnu11",
    "-nostdinc",
    "-fno-crash-diagnostics",
    "-fno-stack-protector",
    "-fno-ident",
    # since Linux 6.19 members may be a tagged struct without a name: struct pipe_inode_info
    "-fms-extensions",
    "-Wno-microsoft-anon-tag",
    "-D__TARGET_ARCH_x86",
    "-DBPF_NO_PRESERVE_ACCESS_INDEX",
    "-Wno-unknown-warning-option",
    "-Wno-return-type",
    "-Wno-return-mismatch",
    "-Wno-unused",
    "-Wno-compare-distinct-pointer-types",
    "-Wno-address-of-packed-member",
    "-Werror=implicit-function-declaration",
    "-Werror=int-conversion",
    "-Werror=string-compare",
    "-Werror=incompatible-pointer-types",
)
# what the headers say is in the name of their folder; when they were written does not matter
WITHOUT_TIMES = ("-Xclang", "-fno-pch-timestamp")
ENUM = re.compile(rb"^(enum (?P<name>\w+) \{[^{}]*\});$", re.MULTILINE)
WHO_RUNS = (
    re.compile(rb"^struct thread_info \{[^}]*\tu32 cpu;", re.MULTILINE),
    re.compile(rb"^struct task_struct \{\n\tstruct thread_info thread_info;(\n\t.*)*?"
               rb"\n\tchar comm\[16\];", re.MULTILINE),
    re.compile(rb"^\tBPF_FUNC_loop = ", re.MULTILINE),
)
MODES = {1: b"QI", 2: b"HI"}  # of gcc and clang, by an enum's size in bytes


@dataclass(frozen=True)
class Clang:
    """A clang and the libclang of the same major version."""

    program: str
    version: str
    library: str


@dataclass(frozen=True)
class Headers:
    """The kernel's types: ``arguments`` make clang take them from a precompiled header."""

    directory: Path
    clang: Clang

    @property
    def arguments(self) -> list[str]:
        """Clang's arguments for any handler of this kernel."""
        return [
            *FLAGS,
            "-include-pch",
            str(self.directory / KERNEL),
            "-I",
            str(self.directory),
            "-I",
            str(bpf_directory()),
        ]

    @property
    def there(self) -> bool:
        """Whether nobody has removed them since."""
        return (self.directory / KERNEL).exists()


def bpf_directory() -> Path:
    """Return the folder of kpmagic's own BPF headers."""
    return Path(__file__).resolve().parent.parent.joinpath("bpf").resolve()


@cache
def find_clang() -> Clang:
    """Return the newest usable clang. Raises MissingDependency."""
    found: list[str] = []
    for name in (*(f"clang-{major}" for major in range(NEWEST, OLDEST - 1, -1)), "clang"):
        program = shutil.which(name)
        if program is None:
            continue
        version = _version(program)
        major = int(version.partition(".")[0] or 0)
        library = _library(major) if OLDEST <= major <= NEWEST else None
        if library is not None:
            return Clang(program, version, library)
        found.append(f"{name} {version}")
    why = f"found {', '.join(found)}, but no libclang of its version" if found else "none found"
    raise MissingDependency(
        f"no clang from {OLDEST} to {NEWEST} with its libclang ({why})",
        hint=f"sudo apt install clang-{NEWEST} libclang1-{NEWEST} (Debian); "
        "clang-14 libclang1-14 where that is the newest",
    )


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\d+(?:\.\d+)*)", done.stdout)
    return match.group(1) if match else ""


def _library(major: int) -> str | None:
    places = ("/usr/lib/x86_64-linux-gnu", f"/usr/lib/llvm-{major}/lib", "/usr/lib64", "/usr/lib")
    names = (f"libclang-{major}.so.1", f"libclang-{major}.so.{major}", f"libclang.so.{major}")
    for place in places:
        for name in names:
            if os.path.exists(os.path.join(place, name)):
                return os.path.join(place, name)
    return None


def headers(
    btf_file: Path, build_id: str, cache_directory: Path, base: Path | None = None
) -> Headers:
    """Return the kernel's types for this clang, made once per kernel and kept in the cache.

    Those of a module, named by ``build_id`` too, stand on the kernel's in ``base``.
    Raises MissingDependency (clang, bpftool) and BuildError.
    """
    clang = find_clang()
    ours = b"".join((bpf_directory() / name).read_bytes() for name in PRECOMPILED)
    made_with = repr((clang, FLAGS, WITHOUT_TIMES, str(bpf_directory()), MODES))
    mark = hashlib.sha256(made_with.encode() + ours).hexdigest()
    directory = cache_directory / "headers" / f"{build_id}-{mark[:16]}"
    if not Headers(directory, clang).there:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".new-") as work:
            _make_headers(Path(work), clang, vmlinux_header(btf_file, base), directory)
    return Headers(directory, clang)


def _make_headers(work: Path, clang: Clang, types: bytes, directory: Path) -> None:
    """Make everything in ``work``, then move it to ``directory`` in one step."""
    made = work / directory.name
    made.mkdir(mode=0o700)
    (made / "vmlinux.h").write_bytes(types)
    current = "#define KP_CURRENT\n" * says_who_runs(types)
    (made / "kernel.h").write_text(f'{current}#include "vmlinux.h"\n#include "kpmagic.bpf.h"\n')
    # The paths in a precompiled header are those it was made with: make it in its final place.
    try:
        made.rename(directory)
    except OSError:
        if not (directory / "vmlinux.h").exists():
            raise
    unfinished = work / KERNEL
    _run(
        [
            clang.program,
            *FLAGS,
            *WITHOUT_TIMES,
            "-I",
            str(directory),
            "-I",
            str(bpf_directory()),
            "-x",
            "c-header",
            str(directory / "kernel.h"),
            "-o",
            str(unfinished),
        ]
    )
    unfinished.rename(directory / KERNEL)


def vmlinux_header(btf_file: Path, base: Path | None = None) -> bytes:
    """Return a kernel's types as C; those of a module stand on the kernel's in ``base``."""
    standing_on = [] if base is None else ["-B", str(base)]
    dump = [find_bpftool(), *standing_on, "btf", "dump", "file", str(btf_file), "format", "c"]
    below = None if base is None else Types(base.read_bytes())
    return with_sizes(_run(dump), Types(btf_file.read_bytes(), below))


def with_sizes(dumped: bytes, types: Types) -> bytes:
    """Return C types with the sizes of enums that are not 4 bytes, which bpftool leaves out.

    Without them whatever lies behind such a member would be read from a wrong place. libbpf 1.3
    writes them itself.
    """
    sizes = {name: types.type(type_id).value for type_id, name in types.named(Kind.ENUM)}

    def sized(match: re.Match[bytes]) -> bytes:
        mode = MODES.get(sizes.get(match["name"].decode(), 4))
        return match[0] if mode is None else b"%s __attribute__((mode(%s)));" % (match[1], mode)

    return ENUM.sub(sized, dumped)


def says_who_runs(types: bytes) -> bool:
    """Whether a program may read the running task's own struct for what a row's header tells.

    So since 5.17: the CPU is in it, and what lies behind its name is zeros (kernel commits
    bcf9033e5449 and 06c5088aeed3).
    """
    return all(each.search(types) for each in WHO_RUNS)


@cache
def find_bpftool() -> str:
    """Return a bpftool that runs. Raises MissingDependency.

    Ubuntu's /usr/sbin/bpftool is a script that wants the package of the running kernel; that of
    any other version in /usr/lib/linux-tools does as well here.
    """
    first = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    others = sorted(glob.glob("/usr/lib/linux-tools/*/bpftool"), reverse=True)
    for program in (*([first] if first else []), *others):
        if subprocess.run([program, "version"], capture_output=True, check=False).returncode == 0:
            return program
    raise MissingDependency(
        "bpftool is not installed: it writes the kernel's types as C",
        hint="sudo apt install bpftool (Debian), linux-tools-generic (Ubuntu up to 24.04)",
    )


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, start_new_session=True)
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", errors="replace").strip()
        raise BuildError(
            f"{Path(command[0]).name} failed on the kernel's types: {words}",
            hint="%kp doctor checks the compilers; %kp clean makes room in the cache",
        )
    return done.stdout
