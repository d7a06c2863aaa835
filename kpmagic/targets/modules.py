# SPDX-License-Identifier: MIT
"""Which modules the sandbox's first process must load, in which order."""

from __future__ import annotations

from pathlib import Path

from kpmagic.errors import TargetError
from kpmagic.targets import bzimage
from kpmagic.targets.kernels import Kernel

# module → the configuration option that gives it, and what it is for
NEEDED = {
    "virtio_pci": ("CONFIG_VIRTIO_PCI", "the sandbox's devices"),
    "virtio_console": ("CONFIG_VIRTIO_CONSOLE", "the way to the agent"),
    "9pnet_virtio": ("CONFIG_NET_9P_VIRTIO", "the host's programs"),
    "9p": ("CONFIG_9P_FS", "the host's programs"),
    "overlay": ("CONFIG_OVERLAY_FS", "the scratch layer"),
}


def to_load(kernel: Kernel) -> list[Path]:
    """Return the files of the modules to load, in order. Raises TargetError.

    What is built into the kernel is left out.
    """
    if kernel.modules is None:
        _check_built_in(kernel)
        return []
    builtin = _builtin(kernel.modules)
    files = dependencies((kernel.modules / "modules.dep").read_text())
    order: dict[str, None] = {}
    for name in NEEDED:
        if name in builtin:
            continue
        if name not in files:
            raise _lacks(kernel, [name])
        path, needs = files[name]
        # modules.dep lists what is needed last first
        for each in (*reversed(needs), path):
            order.setdefault(each)
    return [kernel.modules / path for path in order]


def load_name(path: Path | str) -> str:
    """Return the name of the module in a file: ``9pnet`` for net/9p/9pnet.ko.xz."""
    # not Path.name: there are thousands of them
    return str(path).rpartition("/")[2].split(".ko")[0].replace("-", "_")


def content(path: Path) -> bytes:
    """Return a module's ELF file, unpacked. Raises TargetError."""
    try:
        return bzimage.unpack(path.read_bytes())
    except OSError as error:
        raise TargetError(
            f"cannot read module {str(path)!r}: {error.strerror}",
            hint=bzimage.ANEW,
        ) from None


def dependencies(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return name → (file, files it needs) from the text of modules.dep."""
    found = {}
    for line in text.splitlines():
        path, _, needs = line.partition(":")
        found[load_name(path)] = (path, needs.split())
    return found


def _builtin(modules: Path) -> set[str]:
    listing = modules / "modules.builtin"
    lines = listing.read_text().splitlines() if listing.exists() else []
    return {load_name(line) for line in lines}


def _check_built_in(kernel: Kernel) -> None:
    if kernel.config is None:
        return  # nothing to judge by; the boot's own messages will tell
    built_in = set(kernel.config.read_text().split())
    missing = [name for name, (option, _) in NEEDED.items() if f"{option}=y" not in built_in]
    if missing:
        raise _lacks(kernel, missing)


def _lacks(kernel: Kernel, names: list[str]) -> TargetError:
    reasons = ", ".join(f"{name} ({NEEDED[name][1]})" for name in names)
    options = " ".join(NEEDED[name][0] for name in names)
    where = (
        "" if kernel.modules else f" and no modules beside it or in /lib/modules/{kernel.release}"
    )
    return TargetError(
        f"kernel {kernel.release!r} cannot run the sandbox: it has no {reasons}{where}",
        hint=f"build it with {options} (=y, or =m and install its modules beside it)",
    )
