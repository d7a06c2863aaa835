# SPDX-License-Identifier: MIT
"""What is read of the kernel's memory: as many bytes as there are, at the place where they are."""

from __future__ import annotations

import pytest
from compiled import TinyKernel

from kpmagic import build


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
    ("sk->__sk_common.skc_reuse", "KP_LOAD_BITS(unsigned char, __u64, &(sk->__sk_common), 2, 1, 0, 4)"),
    ("sk->sk_family", "KP_LOAD(unsigned short, &(sk->sk_family))"),
    ("sk->hint + 0", "KP_LOAD(__u8, &(sk->hint)) + 0"),
])  # fmt: skip
def test_where_a_value_lies_and_how_wide_it_is(
    expression: str, code: str, tiny: TinyKernel
) -> None:
    assert code in rendered(tiny, "sock_ready", f"emit(x = {expression});")
