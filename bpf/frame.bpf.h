/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What happens around a handler's body: is the gate open, where does the row go. Needs KP_CPUS (a power of two) and KP_RECORD (bytes) from the generated source.
 */
#ifndef KPMAGIC_FRAME_BPF_H
#define KPMAGIC_FRAME_BPF_H

struct kp_shared {
	struct kp_gate gate;
	struct kp_cpu cpu[KP_CPUS];
};

#ifdef KP_BCC

/* BCC has no variables: these are maps that the agent has made, known by their descriptors. */
#define kp_config KP_VARIABLE(const volatile struct kp_config, kp_config)
#define kp_all KP_VARIABLE(struct kp_shared, kp)
#define kp_ring KP_MAP(kp_ring)

#else

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile struct kp_config kp_config SEC(".rodata.kp") = {};

struct kp_shared kp_all SEC(".data.kp") = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} kp_ring SEC(".maps");

#endif

#include "who.bpf.h"

#define KP_TOLD_AT 32
#define KP_NEARLY 4096

/* Whether this hit is one of the traced system's while the gate is open. */
static __always_inline bool kp_watching(struct kp_hit *hit)
{
	const volatile struct kp_gate *gate = &kp_all.gate;
	__u64 rows = gate->rows, until = gate->until;

	if (rows >= until)
		return false;
	hit->nearly = until - rows <= KP_NEARLY;
	kp_who(hit);
	if (hit->id >> 32 == kp_config.agent)
		return false;
	hit->cpu = &kp_all.cpu[hit->number & (KP_CPUS - 1)];
	/* made once: made again from a number, it would have no bounds that the verifier sees */
	asm volatile("" : "+r"(hit->cpu));
	hit->asked = kp_config.asked;
	return true;
}

#define KP_GATE (&kp_all.gate)
#define kp_current_cgroup bpf_get_current_cgroup_id
#define kp_sampled_out kp_skipped
#include "chosen.h"

/* Room for a row, its header filled in; NULL, and counted, when the buffer is full. */
static __always_inline void *kp_reserve(struct kp_hit *hit, __u64 ts, __u16 row)
{
	struct kp_header *header = bpf_ringbuf_reserve(&kp_ring, KP_RECORD, 0);

	if (!header) {
		hit->cpu->dropped++;
		return NULL;
	}
	kp_head(header, hit, ts, row);
	kp_comm(hit, header->comm);
	return header;
}

/*
 * The word that all CPUs write is written for some rows at once, until few are left of those that
 * were asked for: with it the gate shuts at the last.
 */
static __always_inline void kp_submit(struct kp_hit *hit, void *record)
{
	__u64 untold = hit->cpu->untold + 1;

	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	hit->cpu->rows++;
	if (untold < KP_TOLD_AT && !hit->nearly) {
		hit->cpu->untold = untold;
		return;
	}
	hit->cpu->untold = 0;
	__sync_fetch_and_add(&kp_all.gate.rows, untold);
}

/*
 * Where sp was at the entry, from the registers at the return: the return address has been popped.
 * (Trampolines since 5.16 push a fake one and correct regs->sp for it: kernel commit 1f36839308cf.)
 * The function graph tracer puts the registers themselves below it; what sp they show differs
 * between kernels (return_to_handler of arch/x86/kernel/ftrace_64.S).
 */
#define KP_RETURN_SP(regs) ((regs)->sp - 8)
#define KP_GRAPH_SP(regs) ((__u64)(regs) + sizeof(struct pt_regs))

static __always_inline struct kp_call_key kp_call_key(const struct kp_hit *hit, __u64 sp)
{
	return (struct kp_call_key){ .tid = hit->id, .site = hit->site, .sp = sp };
}

/* Remember that a call has begun; an older one under the same key returned unseen. */
static __always_inline void kp_enter(struct kp_hit *hit, void *calls,
				     const struct kp_call_key *key, const void *call)
{
	hit->cpu->entries++;
	if (!bpf_map_update_elem(calls, key, call, BPF_NOEXIST))
		return;
	hit->cpu->unpaired++;
	if (bpf_map_lookup_elem(calls, key))
		bpf_map_update_elem(calls, key, call, BPF_ANY);
}

/* The running total of a key on this CPU; NULL, and counted, when the table is full. */
static __always_inline struct kp_total *kp_total(struct kp_hit *hit, void *table, const void *key)
{
	struct kp_total none = {};
	struct kp_total *total = bpf_map_lookup_elem(table, key);

	if (total)
		return total;
	bpf_map_update_elem(table, key, &none, BPF_NOEXIST);
	total = bpf_map_lookup_elem(table, key);
	if (!total)
		hit->cpu->dropped++;
	return total;
}

#endif
