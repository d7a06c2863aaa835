/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Pairs entry and return of a function. */
#include "frame.h"

struct call {
	__u64 ts;
};

struct {
	__uint(type, 1); /* BPF_MAP_TYPE_HASH */
	__uint(max_entries, 8192);
	__type(key, struct kp_call_key);
	__type(value, struct call);
} kp_calls SEC(".maps");

SEC("kprobe")
int begun(struct pt_regs *regs)
{
	struct kp_cpu *cpu = kp_begin();
	struct call call = { bpf_ktime_get_ns() };
	struct kp_call_key key = { (__u32)bpf_get_current_pid_tgid(), 0, regs->sp };

	if (!cpu)
		return 0;
	cpu->entries++;
	if (bpf_map_lookup_elem(&kp_calls, &key))
		cpu->unpaired++;
	bpf_map_update_elem(&kp_calls, &key, &call, 0);
	return 0;
}

SEC("kretprobe")
int returned(struct pt_regs *regs)
{
	struct kp_cpu *cpu = kp_begin();
	/* the return address has been taken off the stack */
	struct kp_call_key key = { (__u32)bpf_get_current_pid_tgid(), 0, regs->sp - 8 };
	struct call *call;
	__u64 since;

	if (!cpu)
		return 0;
	call = bpf_map_lookup_elem(&kp_calls, &key);
	if (!call)
		return 0;
	since = bpf_ktime_get_ns() - call->ts;
	bpf_map_delete_elem(&kp_calls, &key);
	cpu->hits++;
	kp_emit(cpu, regs->ax, since, 0);
	return 0;
}
