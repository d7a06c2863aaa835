# SPDX-License-Identifier: MIT
"""Whether a kernel's own struct says who runs is seen in its types."""

from __future__ import annotations

import pytest

from kpmagic.compiler.toolchain import says_who_runs

TYPES = """\
struct thread_info {
	long unsigned int flags;
	u32 status;
	u32 cpu;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	union {
		int a;
	};
	char comm[16];
};

enum bpf_func_id {
	BPF_FUNC_unspec = 0,
	BPF_FUNC_loop = 181,
};
"""


def test_a_kernel_since_5_17() -> None:
    assert says_who_runs(TYPES.encode())


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("\tu32 cpu;\n", ""),  # 5.10: it is a member of task_struct
        ("char comm[16]", "char comm[64]"),
        ("\tstruct thread_info thread_info;\n", "\tint cpu;\n\tstruct thread_info thread_info;\n"),
        ("\tBPF_FUNC_loop = 181,\n", ""),  # 5.16: names are not padded
        ("\tchar comm[16];\n};", "};\n\nstruct other {\n\tchar comm[16];\n};"),
    ],
)
def test_another_kernel(there: str, instead: str) -> None:
    assert there in TYPES
    assert not says_who_runs(TYPES.replace(there, instead).encode())
