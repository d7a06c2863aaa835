# SPDX-License-Identifier: MIT
"""What exported programs print of a table is what kpmagic shows of it."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kpmagic.compiler.toolchain import bpf_directory
from kpmagic.record import Aggregate, CType
from kpmagic.rows.aggregates import _bounds

S64, U64 = CType("int", 8, True), CType("int", 8)
STEPS = Aggregate("m", "x", "lhist", value=S64, low=-5, high=20, step=10)
POWERS = Aggregate("m", "x", "hist", value=S64)
BUCKETS = [(STEPS, (0, 1, 2, 3, 4)), (POWERS, (-3, -1, 0, 1, 2, 62))]
PROGRAM = """
#define MAX_ROWS 0
#define N_PLACES 1u
#define N_SHAPES 0u
#define ENTRIES 0
static const char *const sites[] = { "" };
static const struct shape shapes[] = { { 0 } };
#include "record.h"
struct shared { struct kp_gate gate; struct kp_cpu cpu[]; };
static uint64_t printed;
#include "standalone.print.h"
int main(void)
{
	struct table steps = { .function = 'l', .is_signed = true, .low = -5, .high = 20, .step = 10 };
	struct table powers = { .function = 'h', .is_signed = true }, mean = { .function = 'a' };
	struct kp_total total = { .n = 2, .v = -2 };

	for (int i = 0; i < 5; i++, puts(""))
		put_bounds(&steps, i);
	for (int i = 0, of[] = { -3, -1, 0, 1, 2, 62 }; i < 6; i++, puts(""))
		put_bounds(&powers, of[i]);
	put_total(&mean, &total, 1);
	(void)on_row, (void)put_head, (void)put_names, (void)put_line, (void)put_sum;
	return 0;
}
"""


def shown(aggregate: Aggregate, buckets: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return the bounds of buckets as a table has them."""
    import numpy as np

    low, high = (each.tolist() for each in _bounds(aggregate, np.array(buckets)))
    pairs = [(str(one), str(other)) for one, other in zip(low, high, strict=True)]
    if aggregate.function == "lhist":
        pairs[0], pairs[-1] = ("…", pairs[0][1]), (pairs[-1][0], "…")
    return pairs


EXPECTED = [pair for each in BUCKETS for pair in shown(*each)]


def test_by_a_program_in_c(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    head = (bpf_directory() / "standalone.c").read_text().partition('#include "probe.h"')[0]
    types = "#include <linux/types.h>\n"
    source, program = tmp_path / "bounds.c", tmp_path / "bounds"
    source.write_text(types + head + PROGRAM)
    subprocess.run([compiler, "-Wall", "-Werror", f"-I{bpf_directory()}", str(source), "-o",
                    str(program)], check=True)  # fmt: skip
    *bounds, mean = subprocess.run([program], capture_output=True, text=True,
                                   check=True).stdout.splitlines()  # fmt: skip
    assert [tuple(line.split("\t")) for line in bounds] == EXPECTED
    assert float(mean) == pytest.approx(2.0**63, rel=1e-5)


def test_by_a_script_on_bcc() -> None:
    tree = ast.parse((bpf_directory() / "standalone.bcc.py").read_text())
    found = [each for each in tree.body if getattr(each, "name", "") == "bounds"]
    names: dict[str, Callable[..., tuple[object, object]]] = {}
    exec(compile(ast.Module(found, []), "standalone.bcc.py", "exec"), names)  # type: ignore[arg-type]
    said = [names["bounds"](each.function, bucket, each.low, each.high, each.step)
            for each, buckets in BUCKETS for bucket in buckets]  # fmt: skip
    assert [(str(low), str(high)) for low, high in said] == EXPECTED
