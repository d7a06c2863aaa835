# SPDX-License-Identifier: MIT
"""The agent as one file that any Python 3 runs."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path

from kpmagic import agent, cache
from kpmagic.whole import write_private

MAIN = """\
import sys
from kpmagic.agent.__main__ import main
sys.exit(main(sys.argv))
"""

# zip's earliest date: the same sources give the same bytes
EPOCH = (1980, 1, 1, 0, 0, 0)


def agent_archive() -> bytes:
    """Return the agent as a zip archive for ``python3 -I -S``."""
    folder = Path(next(iter(agent.__path__)))
    files = {f"kpmagic/agent/{path.name}": path.read_text() for path in folder.glob("*.py")}
    files |= {"__main__.py": MAIN, "kpmagic/__init__.py": ""}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text)
    return target.getvalue()


# Run by the target's own Python: a zip of sources on its input, a zip of bytecode on its output.
# The 16 bytes before the code are PEP 552's: magic number, "never compare with a source", hash.
COMPILE = """\
import io, marshal, sys, zipfile
from importlib.util import MAGIC_NUMBER
source = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
target = io.BytesIO()
with zipfile.ZipFile(target, "w") as archive:
    for info in source.infolist():
        code = compile(source.read(info), info.filename, "exec", dont_inherit=True)
        data = MAGIC_NUMBER + b"\\1\\0\\0\\0" + bytes(8) + marshal.dumps(code)
        archive.writestr(zipfile.ZipInfo(info.filename + "c", info.date_time), data)
sys.stdout.buffer.write(target.getvalue())
"""


def compiled(archive: bytes, python: Path) -> bytes:
    """Return the archive as bytecode of that Python: 0.3 s less to import all under emulation.

    Kept in the cache; the sources are returned when that Python cannot compile them.
    """
    found = python.stat()
    key = f"{found.st_ino} {found.st_size} {found.st_mtime_ns}".encode() + archive
    path = cache.directory("agent") / f"{hashlib.sha256(key).hexdigest()[:16]}.pyz"
    with suppress(FileNotFoundError):  # another notebook may empty the cache at any time
        return path.read_bytes()
    done = subprocess.run([str(python), "-I", "-S", "-c", COMPILE], input=archive,
                          capture_output=True, start_new_session=True, check=False)  # fmt: skip
    if done.returncode:
        return archive  # the guest's console will show why
    write_private(path, done.stdout)
    return done.stdout
