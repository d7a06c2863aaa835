# SPDX-License-Identifier: MIT
"""Kernels: choosing, unpacking, and what a user hears when one is not there."""

from __future__ import annotations

import errno
import fcntl
import gzip
import lzma
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard
from far_end import FarEnd

from kpmagic import cache
from kpmagic.channel.connection import Connection
from kpmagic.errors import TargetError
from kpmagic.kp.commands import run_line
from kpmagic.session import session
from kpmagic.targets import bzimage, debian, inline, kernel_fetch, kernels, modules
from kpmagic.targets.kernels import Kernel

ELF = bzimage.ELF_MAGIC + b"Linux version 6.1.0-test (me) " + b"\0" * 64


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KPMAGIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def image_of(payload: bytes) -> bytes:
    """Return a bzImage with one setup sector and this payload."""
    head = bytearray(1024)
    head[bzimage.SETUP_SECTORS] = 1
    head[bzimage.HEADER_MAGIC : bzimage.HEADER_MAGIC + 4] = b"HdrS"
    bzimage.PAYLOAD.pack_into(head, bzimage.PAYLOAD_AT, 16, len(payload))
    return bytes(head) + b"\0" * 16 + payload + b"trailing"


SIZE = struct.pack("<I", len(ELF))
PACKED = {
    "xz": lzma.compress(ELF, check=lzma.CHECK_CRC32) + SIZE,
    "zstd": zstandard.ZstdCompressor().compress(ELF) + SIZE,
    "gzip": gzip.compress(ELF) + SIZE,
}


@pytest.mark.parametrize("packing", PACKED)
def test_the_kernel_is_found_in_its_image(packing: str) -> None:
    assert bzimage.vmlinux(image_of(PACKED[packing])) == ELF


def test_a_vmlinux_is_taken_as_it_is() -> None:
    assert bzimage.vmlinux(ELF) is ELF


@pytest.mark.parametrize(
    "image",
    [b"", b"#!/bin/sh\n", bytes(4096), image_of(b"\xfd7zXZ\0 and no more"), image_of(b"LZ4")],
)
def test_what_is_no_kernel_is_refused(image: bytes) -> None:
    with pytest.raises(TargetError) as caught:
        bzimage.vmlinux(image)
    assert caught.value.hint


def test_a_section_of_a_real_program() -> None:
    program = Path("/proc/self/exe").read_bytes()
    assert bzimage.section(program, ".interp") in (b"/lib64/ld-linux-x86-64.so.2\0", None)
    assert bzimage.section(program, ".BTF") is None
    with pytest.raises(TargetError, match="damaged"):
        bzimage.section(program[:80], ".BTF")


def test_a_version_nobody_has() -> None:
    with pytest.raises(TargetError, match=r"no kernel '4\.4'") as caught:
        kernels.find("4.4")
    assert "6.12" in caught.value.hint


def test_a_kernel_not_fetched_names_the_command() -> None:
    assert kernels.fetched() == []
    with pytest.raises(TargetError, match=r"'6\.12' is not fetched") as caught:
        kernels.find("6.12")
    assert "%kp kernels fetch 6.12" in caught.value.hint


def test_a_path_without_a_kernel(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no kernel at"):
        kernels.find(str(tmp_path / "bzImage"))
    with pytest.raises(TargetError, match="no kernel image in"):
        kernels.find(str(tmp_path))
    (tmp_path / "vmlinuz").write_text("text")
    with pytest.raises(TargetError, match="not a kernel image"):
        kernels.find(str(tmp_path))


def test_a_path_is_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vmlinuz").write_text("text")
    with pytest.raises(TargetError, match="not a kernel image"):
        kernels.find("vmlinuz")


def test_no_debian_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    assert debian.choose_mirror("http://a.example/ubuntu/ noble main\n") is None
    listing = "https://d.example/apt stable stable\nhttps://m.example/debian/ bookworm main\n"
    assert debian.choose_mirror(listing) == "https://m.example/debian/"
    assert debian.choose_mirror("https://m.example/debian-security/ x main") is None


@pytest.mark.parametrize(
    "text", ["x", "http://a b", "http://a [trusted=yes] b", "http://a\nb", "-o"]
)
def test_a_mirror_is_an_address_and_nothing_else(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPMAGIC_DEBIAN_MIRROR", text)
    with pytest.raises(TargetError, match="not an address"):
        debian.mirror()


def test_no_mirror_leaves_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPMAGIC_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    said: list[str] = []
    begin = time.monotonic()
    with pytest.raises(TargetError, match="cannot fetch the package index") as caught:
        kernels.fetch("6.1", said.append)
    assert time.monotonic() - begin < 20
    assert "network" in caught.value.hint
    assert said == ["reading the package index of Debian bookworm"]
    assert [each.name for each in (own_cache / "kernels").iterdir()] == [".6.1.lock"]


def test_leftovers_of_a_killed_fetch_are_swept(own_cache: Path) -> None:
    home = cache.directory("kernels")
    (home / f"{kernel_fetch.TEMPORARY}6.1-abc" / "tree").mkdir(parents=True)
    (home / f"{kernel_fetch.TEMPORARY}6.12-abc").mkdir()
    kernel_fetch.sweep(home, "6.1")
    assert [each.name for each in home.iterdir()] == [f"{kernel_fetch.TEMPORARY}6.12-abc"]
    assert home.stat().st_mode & 0o777 == 0o700


def test_one_fetch_at_a_time() -> None:
    home = cache.directory("kernels")
    program = (
        "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    with kernel_fetch.locked(home, "6.1", print):
        busy = subprocess.run([sys.executable, "-c", program, home / ".6.1.lock"],
                              capture_output=True, check=False)  # fmt: skip
    assert b"BlockingIOError" in busy.stderr


def a_fetched_kernel(version: str) -> Kernel:
    """Put a kernel with its headers into the cache."""
    folder = cache.directory("kernels", version)
    (folder / "headers").mkdir()
    (folder / "headers/Makefile").write_text("all:\n")
    (folder / kernels.DESCRIPTION).write_text('{"release": "6.12.0-test"}')
    return kernels.find(version)


def test_a_removed_kernel_can_be_fetched_again(own_cache: Path) -> None:
    a_fetched_kernel("6.12")
    left = own_cache / f"kernels/{kernel_fetch.TEMPORARY}6.12-removed"  # by one that was killed
    (left / "headers").mkdir(parents=True)
    (own_cache / f"kernels/{kernel_fetch.TEMPORARY}{kernel_fetch.HEADERS}-6.12-x").mkdir()
    assert kernels.remove("6.12") > 0
    assert kernels.fetched() == []
    assert {each.name for each in (own_cache / "kernels").iterdir()} == {
        ".6.12.lock", ".6.12-headers.lock",
    }  # fmt: skip


@pytest.mark.parametrize("version", ["6.1", "4.4", "..", "", "/boot/vmlinuz"])
def test_only_a_fetched_kernel_is_removed(version: str) -> None:
    with pytest.raises(TargetError, match="to remove") as caught:
        kernels.remove(version)
    assert caught.value.hint == "none has been fetched"
    a_fetched_kernel("6.12")
    with pytest.raises(TargetError, match="to remove") as caught:
        kernels.remove(version)
    assert caught.value.hint == "fetched: 6.12"


def test_a_kernel_that_runs_here_is_not_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, rests = a_fetched_kernel("6.12"), a_fetched_kernel("6.1")
    sandbox, other = FarEnd(), FarEnd()
    monkeypatch.setattr(sandbox, "kernel", runs, raising=False)
    with Connection(sandbox) as connection, Connection(other) as second:
        monkeypatch.setattr(session, "_default", second)
        monkeypatch.setattr(session, "_named", {"sandbox": connection})
        with pytest.raises(TargetError, match=r"'6\.12' runs in the sandbox") as caught:
            run_line("kernels remove 6.12")
        assert caught.value.hint == "%kp clean ends it"
        run_line(f"kernels remove {rests.version}")
        assert capsys.readouterr().out == "removed kernel 6.1: 0 MB\n"
    assert kernels.fetched() == [runs]


def test_a_cache_without_locks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS without its lock daemon."""
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    home = cache.directory("kernels")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(TargetError, match="nothing can be locked: No locks available") as caught,
        kernel_fetch.locked(home, "6.1", print),
    ):
        pass
    assert "KPMAGIC_CACHE=DIRECTORY" in caught.value.hint


def test_flavours_are_left_out() -> None:
    assert kernel_fetch.is_stock("linux-image-6.1.0-50-amd64")
    for flavour in ("cloud-amd64", "rt-amd64", "amd64-unsigned", "amd64-dbg"):
        assert not kernel_fetch.is_stock(f"linux-image-6.1.0-50-{flavour}")


def test_a_package_of_an_index() -> None:
    package = debian.parse_package(
        "Package: linux-binary-7.2\nSource: linux-signed-amd64 (7.2.13+1)\nVersion: 7.2.13-1\n"
        "Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.1) | dracut, x:any\n"
        "Description: kernel\n more: text\nSize: 14252084\n\nPackage: other\n"
    )
    assert package == debian.Package(
        "linux-binary-7.2", "7.2.13-1", "linux-signed-amd64", 14252084,
        ("kmod", "linux-base", "initramfs-tools", "x"),
    )  # fmt: skip
    assert debian.parse_package("") is None


def test_inline_functions_of_a_header() -> None:
    text = """
    static inline struct file *get_file(struct file *f)\n    {"""
    assert list(inline.names(text)) == []  # indented: in a macro or a comment
    text = """
static inline struct file *get_file(struct file *f)
{
static __always_inline __alloc_size(1) void *kmalloc(size_t size, gfp_t flags)
{
static inline int __must_check
refcount_add(int i, void (*f)(int)) __acquires(lock) {
static inline int declared_only(int i);
static inline int table[3] = { 1 };
static int plain(int i)
{
"""
    assert list(inline.names(text)) == ["get_file", "kmalloc", "refcount_add"]


def test_modules_are_loaded_after_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio_pci.ko\n")
    (tmp_path / "modules.dep").write_text(
        "fs/9p/9p.ko: fs/netfs/netfs.ko net/9p/9pnet.ko\nfs/overlayfs/overlay.ko.xz:\n"
        "net/9p/9pnet.ko:\nnet/9p/9pnet_virtio.ko: net/9p/9pnet.ko\nfs/netfs/netfs.ko:\n"
        "drivers/char/virtio_console.ko:\n"
    )
    kernel = Kernel("x", "6.1.0-test", tmp_path, tmp_path / "vmlinux", None, tmp_path)
    assert [modules.load_name(path) for path in modules.to_load(kernel)] == [
        "virtio_console", "9pnet", "9pnet_virtio", "netfs", "9p", "overlay",
    ]  # fmt: skip


def test_a_kernel_without_9p_says_what_to_build(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=y\nCONFIG_OVERLAY_FS=m\n")
    kernel = Kernel("x", "6.1.0-test", tmp_path, tmp_path / "vmlinux", None, None, config)
    with pytest.raises(TargetError, match="no modules beside it") as caught:
        modules.to_load(kernel)
    assert "CONFIG_9P_FS" in caught.value.hint
    assert "CONFIG_OVERLAY_FS" in caught.value.hint
    assert "CONFIG_VIRTIO_PCI" not in caught.value.hint
