/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the verifier refuses: a kernel address followed without a safe read. */
#include "frame.h"

SEC("kprobe")
int refused(struct pt_regs *regs)
{
	struct kp_cpu *cpu = kp_begin();

	if (!cpu)
		return 0;
	kp_emit(cpu, *(__u64 *)regs->di, 0, 0);
	return 0;
}
