/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the agent expects of every object, with no kernel types: for tests of the agent alone. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef _Bool bool;

#include "../../../bpf/kpmagic.bpf.h"

#define MAX_CPUS 64
#define BPF_RB_NO_WAKEUP 1

const volatile struct kp_config kp_config SEC(".rodata.kp") = { .cpu = -1, .sample = 1 };

struct {
	struct kp_gate gate;
	struct kp_cpu cpus[MAX_CPUS];
} kp_state SEC(".data.kp") = {};

struct {
	__uint(type, 27); /* BPF_MAP_TYPE_RINGBUF */
	__uint(max_entries, 4096);
} kp_ring SEC(".maps");

/* uapi/asm/ptrace.h of x86-64, as a kprobe's program sees it */
struct pt_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	__u64 orig_ax, ip, cs, flags, sp, ss;
};

struct record {
	struct kp_header header;
	__u64 a, b, c;
};

static __always_inline struct kp_cpu *kp_begin(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	const volatile struct kp_gate *gate = &kp_state.gate;

	if (gate->rows >= gate->until || cpu >= MAX_CPUS)
		return NULL;
	if (bpf_get_current_pid_tgid() >> 32 == kp_config.agent)
		return NULL;
	if (kp_config.cgroup && bpf_get_current_cgroup_id() != kp_config.cgroup)
		return NULL;
	return &kp_state.cpus[cpu];
}

static __always_inline void kp_emit(struct kp_cpu *cpu, __u64 a, __u64 b, __u64 c)
{
	struct record *record = bpf_ringbuf_reserve(&kp_ring, sizeof(*record), 0);
	__u64 id = bpf_get_current_pid_tgid();

	if (!record) {
		cpu->dropped++;
		return;
	}
	__sync_fetch_and_add(&kp_state.gate.rows, 1);
	cpu->rows++;
	record->header.ts = bpf_ktime_get_ns();
	record->header.pid = id >> 32;
	record->header.tid = (__u32)id;
	record->header.cpu = bpf_get_smp_processor_id();
	record->header.site = 0;
	record->header.row = 0;
	bpf_get_current_comm(record->header.comm, 16);
	record->a = a;
	record->b = b;
	record->c = c;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
