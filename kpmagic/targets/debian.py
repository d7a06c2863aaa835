# SPDX-License-Identifier: MIT
"""Packages of a Debian suite, fetched by apt without root and without touching the system.

Everything apt writes is in a directory of our own; apt checks the suite's signature with
Debian's archive keyring, and each package by the checksums signed with it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kpmagic.errors import MissingDependency, TargetError
from kpmagic.targets import commands

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = re.compile(r"(?:https?|file|copy|mirror\+https?)://?[^\s\[\]\"']+")

# What the system's hooks do after an update is not for us; its proxy settings are.
CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Get::AllowUnauthenticated "false";
APT::Get::List-Cleanup "true";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "8";
Acquire::https::Timeout "8";
"""

Percent = Callable[[int], None]


@dataclass(frozen=True)
class Package:
    """What a suite's index says of a package; ``size`` is the download's, in bytes."""

    name: str
    version: str
    source: str
    size: int
    depends: tuple[str, ...]


def mirror() -> str:
    """Return the address of a Debian mirror: the one this machine's own apt uses.

    ``KPMAGIC_DEBIAN_MIRROR`` in the environment overrides it. Raises TargetError.
    """
    named = os.environ.get("KPMAGIC_DEBIAN_MIRROR", "").strip()
    if named:
        if not MIRROR.fullmatch(named):
            raise TargetError(
                f"KPMAGIC_DEBIAN_MIRROR is not an address apt can use: {named!r}",
                hint="it looks like https://HOST/debian",
            )
        return named
    listed = commands.run(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    )  # fmt: skip
    found = choose_mirror(listed.stdout)
    if found is None:
        raise TargetError(
            "no Debian mirror is known on this machine: its apt sources name none",
            hint="set KPMAGIC_DEBIAN_MIRROR to the address of one, from Debian's list of mirrors",
        )
    return found


def choose_mirror(listing: str) -> str | None:
    """Return the Debian archive in ``listing``: lines of address, suite and component."""
    for line in listing.splitlines():
        address, _, rest = line.partition(" ")
        if rest.endswith(" main") and address.rstrip("/").endswith("/debian"):
            return address
    return None


class Suite:
    """One suite of the archive, with apt's private state under ``directory``."""

    def __init__(self, suite: str, directory: Path) -> None:
        self.suite = suite
        self.directory = directory

    def update(self) -> None:
        """Fetch and check the suite's index. Raises TargetError, MissingDependency."""
        if not KEYRING.exists():
            raise MissingDependency(
                f"Debian's archive keys are not installed: no {str(KEYRING)!r}",
                hint="sudo apt-get install debian-archive-keyring",
            )
        for name in ("state/lists/partial", "cache/archives/partial", "etc/parts"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "state/status").touch()
        (self.directory / "apt.conf").write_text(CONFIGURATION)
        address = mirror()
        (self.directory / "etc/sources.list").write_text(
            f"deb [arch=amd64 signed-by={KEYRING}] {address} {self.suite} main\n"
        )
        done = commands.run("apt-get", *self._options(), "update", cwd=self.directory)
        if done.returncode:
            raise _not_fetched(f"the package index of Debian {self.suite!r}", done.stderr, address)

    def names(self, prefix: str) -> list[str]:
        """Return the names of the packages that begin with ``prefix``."""
        done = commands.run("apt-cache", *self._options(), "pkgnames", prefix)
        return sorted(set(done.stdout.split()))

    def show(self, name: str) -> Package | None:
        """Return the newest package of that name, or None."""
        done = commands.run("apt-cache", *self._options(), "show", "--no-all-versions", "--", name)
        return parse_package(done.stdout) if done.returncode == 0 else None

    def download(self, packages: list[Package], percent: Percent) -> list[Path]:
        """Fetch packages and check them; return the files. Raises TargetError."""
        into = self.directory / "packages"
        into.mkdir()
        wanted = [f"{package.name}={package.version}" for package in packages]
        read, write = os.pipe()
        options = [*self._options(), "-o", f"APT::Status-Fd={write}"]
        with open(self.directory / "errors", "w+") as errors, open(read) as status:
            process = subprocess.Popen(
                [*commands.bound("apt-get"), *options, "-q", "download", "--", *wanted],
                cwd=into, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                pass_fds=[write], start_new_session=True, env=os.environ | {"LC_ALL": "C"},
            )  # fmt: skip
            os.close(write)
            with process:
                try:
                    _watch(status, percent)
                except BaseException:
                    process.kill()
                    raise
            errors.seek(0)
            if process.returncode:
                raise _not_fetched(" ".join(wanted), errors.read(), "")
        return sorted(into.glob("*.deb"))

    def _options(self) -> list[str]:
        root = self.directory
        settings = {
            "Dir::State": root / "state",
            "Dir::State::status": root / "state/status",
            "Dir::Cache": root / "cache",
            "Dir::Etc::sourcelist": root / "etc/sources.list",
            "Dir::Etc::sourceparts": root / "etc/parts",
            "Dir::Log": root,
        }
        options = [part for key, path in settings.items() for part in ("-o", f"{key}={path}")]
        return ["-c", str(root / "apt.conf"), *options]


def _watch(status: Iterable[str], percent: Percent) -> None:
    last = -1
    for line in status:
        # dlstatus:1:42.3:Retrieving file 1 of 1 (3s remaining)
        parts = line.split(":")
        if parts[0] == "dlstatus" and len(parts) > 2:
            now = int(float(parts[2]))
            if now >= last + 10:
                percent(now)
                last = now


def unpack(package: Path, into: Path) -> None:
    """Unpack a .deb file. Raises TargetError."""
    done = commands.run("dpkg", "-x", str(package), str(into))
    if done.returncode:
        raise TargetError(
            f"cannot unpack {package.name!r}: {done.stderr.strip()}",
            hint=f"is there room on the disk of {str(into)!r}?",
        )


def parse_package(stanza: str) -> Package | None:
    """Return the first package of an index's text, or None."""
    fields: dict[str, str] = {}
    for line in stanza.split("\n\n")[0].splitlines():
        key, separator, value = line.partition(": ")
        if separator and not key.startswith(" "):
            fields[key] = value
    if "Package" not in fields:
        return None
    depends = (part.split("|")[0].split("(")[0] for part in fields.get("Depends", "").split(","))
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        source=fields.get("Source", fields["Package"]).split(" ")[0],
        size=int(fields.get("Size", 0)),
        depends=tuple(name.strip().split(":")[0] for name in depends if name.strip()),
    )


def _not_fetched(what: str, errors: str, address: str) -> TargetError:
    said = [line for line in errors.splitlines() if line.startswith(("E:", "W:", "Err:"))]
    reason = said[0].split(":", 1)[1].strip() if said else errors.strip()[-200:]
    where = f" from {address}" if address else ""
    return TargetError(
        f"cannot fetch {what}{where}: {reason}",
        hint="is this machine on a network? the same command continues when it is\n"
        "another mirror: set KPMAGIC_DEBIAN_MIRROR to its address",
    )
