# SPDX-License-Identifier: MIT
"""What the host's Python needs to run the agent, as files: they go into the sandbox's memory.

A machine that has mounted a directory of the host cannot be saved, so the agent must start without.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kpmagic import cache
from kpmagic.errors import TargetError
from kpmagic.targets import initramfs
from kpmagic.targets.exports import SYSTEM
from kpmagic.targets.initramfs import Entry
from kpmagic.whole import write_private

LISTING = "files.json"

# Run by the host's Python, the agent's archive on its input: prepares as the agent in a sandbox
# does, then tells what that has loaded: a zip of bytecode, with the names of the other files, and
# their other names (libz.so.1 for libz.so.1.2.13, python3 for python3.11).
COLLECT = """\
import os, sys
agent = os.memfd_create("agent")
os.write(agent, sys.stdin.buffer.read())
sys.path.insert(0, f"/proc/self/fd/{agent}")
from kpmagic.agent.waking import prepare
prepare()
modules = list(sys.modules.values())
with open("/proc/self/maps") as maps:
    mapped = {line.split(None, 5)[5].strip() for line in maps if line.count("/")}
import io, json, marshal, zipfile
from importlib.util import MAGIC_NUMBER
target = io.BytesIO()
with zipfile.ZipFile(target, "w") as archive:
    sources = {getattr(module, "__file__", None) or "" for module in modules} | {os.__file__}
    for path in sorted(each for each in sources if each.endswith(".py")):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec", dont_inherit=True)
            data = MAGIC_NUMBER + b"\\1\\0\\0\\0" + bytes(8) + marshal.dumps(code)
            archive.writestr(zipfile.ZipInfo(path + "c"), data)
    mapped = sorted(each for each in mapped if os.path.isfile(each))
    folders = {os.path.dirname(each) for each in (*mapped, sys.executable)}
    # where every program looks for the dynamic loader
    folders.add(os.path.realpath("/lib64"))
    found = sorted(each.path for folder in folders for each in os.scandir(folder)
                   if each.is_symlink() and os.path.realpath(each.path) in mapped)
    links = [(path, os.readlink(path)) for path in found]
    archive.writestr("files.json", json.dumps({"files": mapped, "links": links}))
sys.stdout.buffer.write(target.getvalue())
"""


def files(python: Path, agent: bytes) -> Iterator[Entry]:
    """Yield Python, its libraries, libbpf's, and the modules that the agent ``agent`` imports.

    The bytecode stands without its source: that the host's time stamps are lost does not matter.
    """
    for name in SYSTEM:
        if Path("/", name).is_symlink():
            yield initramfs.link(name, os.readlink(f"/{name}"))
    yield initramfs.link("etc", "image/etc")  # the dynamic loader's cache
    with zipfile.ZipFile(io.BytesIO(_collected(python, agent))) as archive:
        listing = json.loads(archive.read(LISTING))
        for name in archive.namelist():
            if name != LISTING:
                yield initramfs.file(name, archive.read(name))
    for path in listing["files"]:
        yield initramfs.file(path, Path(path).read_bytes(), 0o755)
    for path, target in listing["links"]:
        yield initramfs.link(path, target)


def _collected(python: Path, agent: bytes) -> bytes:
    """Return what COLLECT tells; kept until Python, its libraries or the agent change.

    Raises TargetError.
    """
    stamps = f"{_stamp(python)} {_stamp(Path('/etc/ld.so.cache'))} {COLLECT}"
    name = hashlib.sha256(stamps.encode() + agent).hexdigest()[:16]
    path = cache.directory("agent") / f"{name}.zip"
    with suppress(FileNotFoundError):  # another notebook may empty the cache at any time
        return path.read_bytes()
    done = subprocess.run([str(python), "-I", "-S", "-c", COLLECT], input=agent,
                          capture_output=True, start_new_session=True, check=False)  # fmt: skip
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise TargetError(
            f"{str(python)!r} cannot run the agent: {' '.join(last)}",
            hint="the sandbox's agent needs Python 3.9 or newer there",
        )
    write_private(path, done.stdout)
    return done.stdout


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"
