# SPDX-License-Identifier: MIT
"""Which of the host's directories and files are in the sandbox."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kpmagic.targets import initramfs
from kpmagic.targets.initramfs import Entry

# with /usr merged, all but usr and opt are links
SYSTEM = ("usr", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32")

# What programs need of /etc; nothing that is secret anywhere. Directories are taken whole.
ETC = (
    "alternatives", "bash.bashrc", "bpftrace", "ca-certificates.conf", "debian_version",
    "environment", "fonts", "gai.conf", "group", "host.conf", "inputrc", "java-17-openjdk",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "login.defs",
    "magic", "mime.types", "networks", "nsswitch.conf", "os-release", "passwd", "perl", "profile",
    "protocols", "python3", "python3.11", "python3.12", "python3.13", "rpc", "services", "shells",
    "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
ETC_LARGEST = 4 << 20

EMPTY = ("dev", "proc", "sys", "run/kpmagic", "run/lock", "mnt", "home", "var/lib", "var/log",
         "var/cache", "boot")  # fmt: skip

# never the working directory themselves, nor anything below the second ones
NEVER = {"/", "/bin", "/home", "/media", "/mnt", "/opt", "/root", "/sbin", "/srv", "/tmp", "/usr",
         "/var", "/var/tmp"}  # fmt: skip
NEVER_BELOW = ("/boot", "/dev", "/etc", "/proc", "/run", "/sys")


@dataclass(frozen=True)
class Export:
    """A directory of the host at the same place in the sandbox.

    ``kind`` is ``scratch`` (read-only under a scratch layer), ``workdir`` (the same, and what
    changes on the host is seen), ``plain`` (read-only), ``mask`` (seen empty) or ``spare`` (not
    mounted: a machine that is restored has as many devices as the one that was saved).
    """

    kind: str
    path: str
    source: Path


def system() -> list[Export]:
    """Return the host's directories of programs, and its homes inside them as masked."""
    found = [Export("scratch", f"/{name}", Path("/", name)) for name in SYSTEM
             if Path("/", name).is_dir() and not Path("/", name).is_symlink()]  # fmt: skip
    inside = [home for home in homes() if any(each.source in home.parents for each in found)]
    return found + [Export("mask", str(home), home) for home in sorted(inside)]


def modules(release: str, source: Path) -> Export:
    """Return a kernel's modules where the kernel looks for them."""
    return Export("plain", f"{Path('/lib').resolve()}/modules/{release}", source)


def homes() -> set[Path]:
    """Return the home directories of this machine's people."""
    people = [each for each in pwd.getpwall() if each.pw_uid == 0 or each.pw_uid >= 1000]
    own = [each.pw_dir for each in people if each.pw_uid != 65534]
    found = {Path(path).resolve() for path in (*own, os.path.expanduser("~"))}
    return found - {Path("/")}


def spare() -> Export:
    """Return what stands in for the notebook's folder where that is not exported."""
    return Export("spare", "", Path("/usr"))


def workdir(path: Path) -> tuple[Export | None, str, str]:
    """Return the notebook's folder as an export, the sandbox's working directory, and a note.

    Without an export the working directory is /tmp and the note says why.
    """
    path = path.resolve()
    reason = _why_not(path)
    if reason:
        note = f"{str(path)!r} is not in the sandbox: {reason}; the working directory is /tmp"
        return None, "/tmp", note
    if any(each.kind == "scratch" and each.source in path.parents for each in system()):
        return None, str(path), ""
    return Export("workdir", str(path), path), str(path), ""


def _why_not(path: Path) -> str:
    if not path.is_dir():
        return "it is not a directory"
    if str(path) in NEVER or any(path.is_relative_to(place) for place in NEVER_BELOW):
        return "it is a directory of the system"
    for home in homes():
        if path == home:
            return "it is a home directory"
        if home.is_relative_to(path):
            return f"the home directory {str(home)!r} is in it"
        if path.is_relative_to(home) and path.relative_to(home).parts[0].startswith("."):
            return "it is in a hidden directory of the home directory"
    if "\n" in str(path):
        return "there is a line break in its name"
    return ""


def files() -> Iterator[Entry]:
    """Yield what the sandbox's root has besides the exports."""
    for name in EMPTY:
        yield initramfs.folder(f"image/{name}")
    for name, mode in (("root", 0o700), ("tmp", 0o1777), ("var/tmp", 0o1777)):
        yield initramfs.folder(f"image/{name}", mode)
    yield initramfs.link("image/var/run", "/run")
    yield initramfs.link("image/etc/mtab", "/proc/self/mounts")
    yield initramfs.file("image/etc/hostname", b"kpmagic\n")
    yield initramfs.file("image/etc/hosts", b"127.0.0.1 localhost kpmagic\n::1 localhost\n")
    for name in SYSTEM:
        if Path("/", name).is_symlink():
            yield initramfs.link(f"image/{name}", os.readlink(f"/{name}"))
    for name in ETC:
        yield from _copies(Path("/etc", name))


def _copies(path: Path) -> Iterator[Entry]:
    """Yield a file, a link, or a directory with all in it that anyone may read."""
    try:
        if path.is_symlink():
            yield initramfs.link(f"image{path}", os.readlink(path))
        elif path.is_dir():
            for each in sorted(path.iterdir()):
                yield from _copies(each)
        elif path.is_file() and path.stat().st_mode & 0o004 and path.stat().st_size <= ETC_LARGEST:
            yield initramfs.file(f"image{path}", path.read_bytes())
    except PermissionError:
        return
