# SPDX-License-Identifier: MIT
"""Where a changed place leads: its instructions, in steps that do one thing each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from kpmagic.planted.disassembly import Names, disassemble, name_of
from kpmagic.planted.place import CALL, JUMP, Written, plain
from kpmagic.planted.values import Detour, Instruction, Step

SIZE = 1024  # bytes that are read of one
MOST = 200  # instructions
UNKNOWN = "calls nobody, so far as it was read"


def detour(now: Written, code: bytes, names: Names) -> Detour | None:
    """Return where a call or jump leads to; ``code`` is what stands there."""
    if not code or now.opcode not in (CALL, JUMP):
        return None
    instructions = list(_until_it_leaves(disassemble(code, now.target, names), now))
    if now.opcode == JUMP:
        return Detour("the detour buffer of this probe alone", now.target,
                      tuple(_of_optimiser(instructions, now, names)))  # fmt: skip
    return Detour(f"the trampoline {_title(now, names)}", now.target,
                  tuple(_of_trampoline(instructions, now, names)))  # fmt: skip


def _title(now: Written, names: Names) -> str:
    name = name_of(now.target, names)
    if name.startswith("0x"):
        return "that ftrace made for kprobes"
    return f"{name}, which all who trace the function share"


def _until_it_leaves(instructions: Iterable[Instruction], now: Written) -> Iterator[Instruction]:
    """Yield instructions up to the return, or the jump out of it."""
    for each in itertools.islice(instructions, MOST):
        yield each
        inside = now.target <= each.target < now.target + SIZE
        if each.mnemonic.startswith("ret") or (each.mnemonic == "jmp" and not inside):
            return


def _of_optimiser(
    instructions: list[Instruction], now: Written, names: Names
) -> Iterator[Step]:
    """arch/x86/kernel/kprobes/opt.c: optprobe_template_entry, then what the jump has covered."""
    call = _first(instructions, "call")
    if call == len(instructions):
        yield Step(UNKNOWN, tuple(instructions))
        return
    second = max((at for at in range(call) if plain(instructions[at]) == "mov rsi, rsp"),
                 default=call)  # fmt: skip
    flags = (at for at in range(call, len(instructions))
             if instructions[at].mnemonic.startswith("popf"))  # fmt: skip
    copied = next(flags, len(instructions) - 1) + 1
    steps = [
        ("saves every register on the stack, as an exception would: a struct pt_regs", 0, second),
        ("the arguments of the call: the struct optimized_kprobe of this place, and where that "
         "pt_regs is", second, call),
        ("runs the probe's handler", call, call + 1),
        ("puts every register back, as the handler has left it", call + 1, copied),
        (f"a copy of what the jump has covered, from {name_of(now.address, names)} on",
         copied, len(instructions) - 1),
        ("back into the function, behind it", max(copied, len(instructions) - 1),
         len(instructions)),
    ]  # fmt: skip
    for does, begin, end in steps:
        if begin < end:
            yield Step(does, tuple(instructions[begin:end]))


def _of_trampoline(
    instructions: list[Instruction], now: Written, names: Names
) -> Iterator[Step]:
    """arch/x86/kernel/ftrace_64.S: ftrace_regs_caller, or the BPF JIT's trampoline."""
    call = _first(instructions, "call")
    if call == len(instructions):
        yield Step(UNKNOWN, tuple(instructions))
        return
    target = instructions[call].text.split()[-1]
    yield Step("saves the registers, and gathers the arguments of the call",
               tuple(instructions[:call]))  # fmt: skip
    yield Step(f"calls {target}" + _who(target), tuple(instructions[call : call + 1]))
    yield Step("puts the registers back, as the handler has left them",
               tuple(instructions[call + 1 : -1]))  # fmt: skip
    yield Step(f"returns to {name_of(now.end, names)}, behind the call",
               tuple(instructions[-1:]))  # fmt: skip


def _who(target: str) -> str:
    for name, does in CALLED.items():
        if target.startswith(name):
            return f": {does}"
    return ""


CALLED = {
    "kprobe_ftrace_handler": "finds the probe by the address it was called from, runs its handler",
    "ftrace_ops_assist_func": "keeps it from calling itself, and calls the kprobes' handler",
    "fprobe_": "runs the handlers of everybody who has planted probes at many functions at once",
    "ftrace_ops_list_func": "goes through the list of all who trace this function",
    "arch_ftrace_ops_list_func": "goes through the list of all who trace this function",
    "__bpf_prog_enter": "enters the BPF program",
}


def _first(instructions: list[Instruction], mnemonic: str) -> int:
    return next((at for at, each in enumerate(instructions)
                 if each.mnemonic == mnemonic), len(instructions))  # fmt: skip
