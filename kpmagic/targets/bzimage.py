# SPDX-License-Identifier: MIT
"""A kernel image unpacked: bzImage → vmlinux → its BTF."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Callable

import zstandard
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from kpmagic.errors import TargetError

ELF_MAGIC = b"\x7fELF"

# Documentation/arch/x86/boot.rst: setup_sects, the magic "HdrS", payload_offset, payload_length
SETUP_SECTORS = 0x1F1
HEADER_MAGIC = 0x202
PAYLOAD = struct.Struct("<II")
PAYLOAD_AT = 0x248

# what mends a fetched kernel
ANEW = "%kp kernels remove VERSION, then %kp kernels fetch VERSION"

Unpack = Callable[[bytes], bytes]


def _unxz(data: bytes) -> bytes:
    # the last four bytes of a payload are its unpacked size, which is not part of the stream
    return lzma.LZMADecompressor().decompress(data)


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)


FORMATS: dict[bytes, tuple[str, Unpack]] = {
    b"\xfd7zXZ\0": ("xz", _unxz),
    b"\x28\xb5\x2f\xfd": ("zstd", _unzstd),
    b"\x1f\x8b": ("gzip", _gunzip),
}


def unpack(data: bytes) -> bytes:
    """Return ``data`` without the compression its first bytes name; as it is if they name none."""
    for magic, (name, unpack_format) in FORMATS.items():
        if data.startswith(magic):
            try:
                return unpack_format(data)
            except (lzma.LZMAError, zstandard.ZstdError, zlib.error) as error:
                raise TargetError(
                    f"damaged {name} data in the kernel: {error}",
                    hint=f"{ANEW}; or give another file",
                ) from None
    return data


def vmlinux(image: bytes) -> bytes:
    """Return the ELF kernel in ``image``, a bzImage or a vmlinux. Raises TargetError."""
    if image.startswith(ELF_MAGIC):
        return image
    if image[HEADER_MAGIC : HEADER_MAGIC + 4] != b"HdrS":
        raise TargetError(
            "not a kernel image: neither a bzImage nor a vmlinux",
            hint="give the path of a vmlinuz, bzImage or vmlinux for x86-64",
        )
    offset, length = PAYLOAD.unpack_from(image, PAYLOAD_AT)
    start = ((image[SETUP_SECTORS] or 4) + 1) * 512 + offset
    kernel = unpack(image[start : start + length])
    if not kernel.startswith(ELF_MAGIC):
        raise TargetError(
            f"cannot unpack this kernel image: its payload begins with {kernel[:6].hex(' ')!r}",
            hint="kernels packed with xz, zstd or gzip can be read; or give its vmlinux",
        )
    return kernel


def section(elf: bytes, name: str) -> bytes | None:
    """Return the bytes of an ELF section, or None when there is none. Raises TargetError."""
    try:
        found = ELFFile(io.BytesIO(elf)).get_section_by_name(name)
        return None if found is None else bytes(found.data())
    except (ELFError, struct.error) as error:
        raise TargetError(
            f"damaged kernel image: {error}",
            hint=f"{ANEW}; or give another file",
        ) from None
