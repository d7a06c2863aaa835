# SPDX-License-Identifier: MIT
"""``--mechanism``: where a probe must go for the kernel to plant it that way, or why it will not.

At a function's entry is the place of ftrace's call, and the kernel has ftrace call every kprobe
there (kernel/kprobes.c: check_ftrace_location()). Behind it nothing of the function has run yet,
its arguments are where its caller has put them, and there a probe is an int3, or a jump.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kpmagic.errors import AttachError
from kpmagic.model import Plan, Site
from kpmagic.planted.disassembly import Names, disassemble, name_of
from kpmagic.planted.place import CALL, ENDBRS, plain

# what ftrace leaves where nobody traces; the second on some processors before Linux 5.13
NOPS = (b"\x0f\x1f\x44\x00\x00", b"\x66\x66\x66\x66\x90")
CALL_SIZE = 5
HEAD = 16  # bytes of a function that tell where its code begins
JUMP_SIZE = 5
ONE_BYTE = frozenset(bytes([opcode]) for opcode in range(0x50, 0x60))  # push and pop of registers

Traced = Callable[[Site], bool]
"""Whether a site's function is among those that ftrace can trace."""


def prologue(head: bytes) -> int:
    """Return where a function's own code begins: behind its endbr64 and the place of a call.

    0 for a function that has no such place.
    """
    at = len(ENDBRS[0]) if head[:4] in ENDBRS else 0
    slot = head[at : at + CALL_SIZE]
    is_call = len(slot) == CALL_SIZE and slot[0] == CALL
    return at + CALL_SIZE if slot in NOPS or is_call else 0


def aimed(plan: Plan, site: Site, head: bytes, traced: Traced) -> Site:
    """Return the place for ``--mechanism``; ``head`` is its function's first bytes.

    Raises AttachError when the kernel will not plant it that way.
    """
    wanted = plan.probe.options.mechanism
    behind = prologue(head) if traced(site) else 0
    at_call = behind > 0 and site.offset in (0, behind - CALL_SIZE)
    if wanted == "ftrace":
        if not at_call:
            raise AttachError(_no_call(site, behind), hint="leave --mechanism out, or name the "
                              "function without an offset")  # fmt: skip
        return site
    if not at_call:
        return site
    if plan.probe.kind == "kretprobe":
        raise AttachError(
            f"--mechanism {wanted}: a return probe sits at its function's entry, and the kernel "
            f"has ftrace call it there ({site.symbol} can be traced)",
            hint="a function that ftrace cannot trace, or %%kprobe",
        )
    note = (f"{site.symbol} → {site.symbol}+{behind:#x}: behind ftrace's call, where the arguments "
            "are as at the entry")  # fmt: skip
    return replace(
        site, offset=behind, entry=behind, address=site.address - site.offset + behind,
        note="; ".join(filter(None, (site.note, note))),
    )  # fmt: skip


def _no_call(site: Site, behind: int) -> str:
    if behind:
        return (f"--mechanism ftrace: ftrace calls from a function's entry only, not from "
                f"{site.symbol}+{site.offset:#x}")  # fmt: skip
    return f"--mechanism ftrace: {site.symbol} has no place for ftrace's call (notrace)"


def may_lose_callers(code: bytes) -> bool:
    """Whether the kernel may find no callers from a probe on an instruction that begins so.

    It walks from behind an int3, which has one byte; a push or pop of one byte it then takes for
    done, and the return address for a word further on (arch/x86/kernel/unwind_orc.c).
    """
    return code[:1] in ONE_BYTE


def why_no_jump(code: bytes, begin: int, at: int, names: Names) -> str:
    """Return why the optimiser will make no jump at ``at`` in a function, ``""`` when it may.

    ``code`` is the whole function, from ``begin`` on. The rules are those of can_optimize() and
    can_boost() in arch/x86/kernel/kprobes.
    """
    if begin + len(code) - at < JUMP_SIZE:
        return f"the function ends within the {JUMP_SIZE} bytes of a jump"
    listed = list(disassemble(code, begin, names))
    inside = [each for each in listed if at <= each.address < at + JUMP_SIZE]
    end = inside[-1].end if inside else at + JUMP_SIZE
    for each in listed:
        if at < each.target < end:
            return f"{name_of(each.address, names)} jumps into the {JUMP_SIZE} bytes of a jump"
    stays = next((each for each in inside if each.target or each.mnemonic in UNMOVED), None)
    if stays is not None:
        return f"'{plain(stays)}' cannot be moved to another place"
    return ""


UNMOVED = frozenset(("int3", "int1", "hlt", "ret", "retf", "iretq", "loop", "loope", "loopne",
                     "jrcxz", "ud2", "call", "jmp"))  # fmt: skip
