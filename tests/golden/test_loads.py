# SPDX-License-Identifier: MIT
"""What is read of the kernel's memory: as many bytes as there are, at the place where they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from compiled import TinyKernel

from kpmagic import build
from kpmagic.errors import CellError


def rendered(tiny: TinyKernel, place: str, body: str, kind: str = "kprobe") -> str:
    text = build.render(tiny.plan(kind, place, body), tiny.compiler).text  # type: ignore[arg-type]
    assert tiny.compiler.compile(text).startswith(b"\x7fELF")
    return text


@pytest.mark.parametrize(("expression", "code"), [
    # an unnamed struct in an unnamed union, eight bytes in
    ("sk->kind", "KP_LOAD_BITS(int, __s64, (sk), 8, 2, 5, 5)"),
    ("(*sk).kind + 1", "KP_LOAD_BITS(int, __s64, &((*sk)), 8, 2, 5, 5) + 1"),
    # a macro of members.h
    ("sk->sk_reuseport", "KP_LOAD_BITS(unsigned char, __u64, (sk), 2, 1, 4, 1)"),
    ("sk->__sk_common.skc_reuse",
     "KP_LOAD_BITS(unsigned char, __u64, &(sk->__sk_common), 2, 1, 0, 4)"),
    ("sk->sk_family", "KP_LOAD(unsigned short, &(sk->sk_family))"),
    ("__builtin_bswap16(sk->sk_family)", "__builtin_bswap16(KP_LOAD(unsigned short,"),
    ("comm[tid]", "comm[KP_INDEX(tid, 16)]"),
    ("((int[2][3]){})[sk->hint][2]", "[KP_INDEX(KP_LOAD(__s8, &(sk->hint)), 2)][2]"),
    ("((int[2]){})[2]", "[KP_INDEX(2, 2)]"),
    ("sk->__sk_common.skc_name[tid]", "KP_LOAD(char, &(sk->__sk_common.skc_name[tid]))"),
    ("sk->all / 10", "KP_QUOTIENT((KP_LOAD(long, &(sk->all))), (10))"),
    ("1 + sk->all %\n /* by */ sk->hint",
     "1 + KP_REMAINDER((KP_LOAD(long, &(sk->all))), ( KP_LOAD("),
    ("cpu / 0x0u + tid / SOME", "KP_QUOTIENT((cpu), (0x0u)) + tid / SOME"),
    ("cpu / 10 + 6 / 2 + (int[6 / 3]){ 1 }[0]", "cpu / 10 + 6 / 2 + (int[6 / 3]){ 1 }[0]"),
    ("cpu / tid / -3", "KP_QUOTIENT((cpu), (tid)) / -3"),
    ("bpf_ktime_get_ns() + sk->all", "bpf_ktime_get_ns() + KP_LOAD(long, &(sk->all))"),
    ("sk->hint + 0", "KP_LOAD(__s8, &(sk->hint)) + 0"),
])  # fmt: skip
def test_where_a_value_lies_and_how_wide_it_is(
    expression: str, code: str, tiny: TinyKernel
) -> None:
    assert code in rendered(tiny, "sock_ready", f"emit(x = {expression});")


@pytest.mark.parametrize(("statements", "code"), [
    ("char to[16]; bpf_get_current_comm(to, sizeof(to));", "(to, KP_INDEX(sizeof(to), 17))"),
    ("char to[16]; bpf_get_current_comm((void *)&to, 16);", "((void *)&to, 16)"),
    ("char to[16]; bpf_get_current_comm(&to[4], cpu & 7);", "(&to[4], KP_INDEX(cpu & 7, 13))"),
    ("char to[16]; bpf_get_current_comm(&to[cpu & 7], 1);", "(&to[KP_INDEX(cpu & 7, 16)], 1)"),
    ("struct { long a; char b[8]; } to = {}; bpf_probe_read_kernel_str(to.b, 8, sk);",
     "(to.b, 8, sk)"),
    ("__u64 to = 0; bpf_probe_read_kernel(&to, sizeof(to), &sk->all);",
     "(&to, KP_INDEX(sizeof(to), 9), &sk->all)"),
])  # fmt: skip
def test_helpers_fill_what_is_the_bodys_own(statements: str, code: str, tiny: TinyKernel) -> None:
    assert code in rendered(tiny, "sock_ready", f"{statements} emit(cpu);")


@pytest.mark.parametrize(("loop", "code"), [
    ("for (int i = 0; i < 4; i++) sum += sk->all;",
     "for (KP_LOCAL int i = 0; i < 4; i++) "
     "if (!KP_TURN) {} else sum += KP_LOAD(long, &(sk->all));"),
    ("for (;sum < 9;) { sum++; }", "for (;sum < 9;) if (!KP_TURN) {} else { sum++; }"),
    ("if (tid) while (sum < 4) if (cpu) sum++; else sum += 2; else sum = 9;",
     "if (tid) while (sum < 4) if (!KP_TURN) {} else if (cpu) sum++; else sum += 2; else sum = 9;"),
    ("do sum++; while (sum < 4);", "do if (!KP_TURN) {} else sum++; while (sum < 4);"),
    ("while (sum++ < 4);", "while (sum++ < 4)if (!KP_TURN) {} else ;"),
    ("do { for (; sum < 3; sum++) {} } while (0);",
     "do if (!KP_TURN) {} else { for (; sum < 3; sum++) if (!KP_TURN) {} else {} } while (0);"),
])  # fmt: skip
def test_turns_of_loops_are_counted(loop: str, code: str, tiny: TinyKernel) -> None:
    text = rendered(tiny, "sock_ready", f"int sum = 0; {loop} emit(sum);")
    assert f"KP_LOCAL int sum = 0; {code} " in text


@pytest.mark.parametrize("to", ["sk", "&sk->all", "(void *)bpf_get_current_task()", "there",
                                "sk->__sk_common.skc_name", "&there[2]", "to + 4"])
def test_helpers_fill_nothing_of_the_kernels(to: str, tiny: TinyKernel) -> None:
    body = f"char to[16] = {{}}; char *there = to; bpf_probe_read_kernel({to}, 4, sk); emit(to);"
    with pytest.raises(CellError, match="a variable of the body's own only"):
        rendered(tiny, "sock_ready", body)


@pytest.mark.parametrize(("place", "code"), [
    # of a bool's register the lowest byte counts, whatever is above it
    ("sock_ready", "KP_LOCAL bool retval;\n\tKP_ARGUMENT(retval, kp_regs->ax);"),
    ("sock_handler", "KP_LOCAL void (*retval)(int);"),
])  # fmt: skip
def test_what_is_returned_has_its_type(place: str, code: str, tiny: TinyKernel) -> None:
    assert code in rendered(tiny, place, "emit(retval);", "kretprobe")


@pytest.mark.parametrize(("returns", "size", "column", "code"), [
    ("struct owner", 4, "__u32 c_retval__val;", "KP_ARGUMENT(retval, kp_regs->ax);"),
    ("struct span", 16, "__s64 c_retval__nanoseconds;",
     "KP_ARGUMENT(retval, kp_regs->ax, kp_regs->dx);"),
    ("struct file", 200, "__u32 c_retval__f_flags;",
     "bpf_probe_read_kernel(&retval, sizeof(retval), (const void *)kp_regs->ax);"),
])  # fmt: skip
def test_a_struct_comes_back_in_two_registers_or_in_memory(
    returns: str, size: int, column: str, code: str, tiny: TinyKernel
) -> None:
    plan = tiny.plan("kretprobe", "sock_ready", "emit(retval);")
    (site,) = plan.sites
    assert site.function is not None
    function = replace(site.function, returns=returns, returns_size=size)
    plan = replace(plan, sites=(replace(site, function=function),))
    text = build.render(plan, tiny.compiler).text
    assert code in text
    assert column in text
    assert tiny.compiler.compile(text).startswith(b"\x7fELF")
