/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* A record for each hit, and a count of hits by CPU number. */
#include "frame.h"

struct {
	__uint(type, 5); /* BPF_MAP_TYPE_PERCPU_HASH */
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct kp_total);
} by_cpu SEC(".maps");

SEC("kprobe")
int entry(struct pt_regs *regs)
{
	struct kp_cpu *cpu = kp_begin();
	struct kp_total first = { 1, 7 }, *total;
	__u64 key = bpf_get_smp_processor_id();

	if (!cpu)
		return 0;
	cpu->hits++;
	kp_emit(cpu, regs->di, regs->si, cpu->hits);
	total = bpf_map_lookup_elem(&by_cpu, &key);
	if (total) {
		total->n++;
		total->v += 7;
	} else {
		bpf_map_update_elem(&by_cpu, &key, &first, 0);
	}
	return 0;
}
