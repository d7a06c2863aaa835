/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What both halves of a generated module know: body.c, the cell's statements over the kernel's
 * types (vmlinux.h), and handlers.c, the probes over the kernel's own headers. The words are those
 * of the BPF backend, so that one body means the same in both.
 */
#ifndef KPMAGIC_KMOD_H
#define KPMAGIC_KMOD_H

#include "record.h"

/* An aggregation: a hash table for each CPU, all memory of it there before the first hit. */
struct kp_table {
	__u32 key_size;
	__u32 keys[KP_CPUS];	/* in use */
	char *slots;
};

/* What a return probe keeps of a call from its entry on. */
struct kp_call {
	__u64 ts;		/* 0: the gate was shut when it began */
	__u64 words[KP_WORDS];	/* the arguments that the body uses */
};

void *kp_reserve(struct kp_hit *hit, __u64 ts, __u16 row);
bool kp_submit(struct kp_hit *hit, void *record);
bool kp_may_inject(struct kp_hit *hit);
bool kp_sampled_out(struct kp_hit *hit);
struct kp_total *kp_total(struct kp_hit *hit, struct kp_table *table, const void *key);

__u64 kp_time(void);
__u32 kp_this_cpu(void);
__u64 kp_current_id(void);
__u64 kp_current_user(void);
__u64 kp_current_task(void);
__u64 kp_current_cgroup(void);
long kp_current_comm(void *to, __u32 size);
long kp_read(void *to, __u32 size, const void *from);
long kp_read_user(void *to, __u32 size, const void *from);
long kp_read_text(void *to, __u32 size, const void *from);
long kp_read_user_text(void *to, __u32 size, const void *from);
long kp_stack(void *regs, void *to, __u32 size, __u64 flags);

#define kp_comm(hit, to) kp_current_comm(to, 16)

#ifdef KP_BODY

#define SEC(name)
#define KP_LOCAL

#define bpf_ktime_get_ns kp_time
#define bpf_get_smp_processor_id kp_this_cpu
#define bpf_get_current_pid_tgid kp_current_id
#define bpf_get_current_uid_gid kp_current_user
#define bpf_get_current_comm kp_current_comm
#define bpf_get_current_task kp_current_task
#define bpf_get_current_cgroup_id kp_current_cgroup
#define bpf_probe_read_kernel kp_read
#define bpf_probe_read_user kp_read_user
#define bpf_probe_read_kernel_str kp_read_text
#define bpf_probe_read_user_str kp_read_user_text
#define bpf_get_stack kp_stack

/* An index of an array of `n` elements: with another one the handler ends, its hit is dropped. */
#define KP_INDEX(i, n)                                                       \
	({                                                                   \
		typeof(i) kp_i = (i);                                        \
		if ((__u64)kp_i >= (n)) {                                    \
			kp_hit->cpu->dropped++;                              \
			return;                                              \
		}                                                            \
		kp_i;                                                        \
	})

/* A turn of a loop: after more than a BPF program could make, the handler ends, its hit dropped. */
#define KP_MOST_TURNS (1 << 18)
#define KP_TURN                                                              \
	({                                                                   \
		if (++kp_hit->turns > KP_MOST_TURNS) {                       \
			kp_hit->cpu->dropped++;                              \
			return;                                              \
		}                                                            \
		true;                                                        \
	})

/* 0 for 0, 1 + log2 for what is above */
static __always_inline __s32 kp_log2(__u64 value)
{
	return value ? 64 - __builtin_clzll(value) : 0;
}

#include "body.h"

#endif /* KP_BODY */
#endif
