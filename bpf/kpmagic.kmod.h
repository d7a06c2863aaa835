/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What both halves of a generated module know: body.c, the cell's statements over the kernel's
 * types (vmlinux.h), and handlers.c, the probes over the kernel's own headers. The words are those
 * of the BPF backend, so that one body means the same in both.
 */
#ifndef KPMAGIC_KMOD_H
#define KPMAGIC_KMOD_H

/* Written by the agent before the gate opens; agent/wire.py: CONFIG. */
struct kp_config {
	__u64 cgroup;	/* 0: any */
	__u64 max_rows;	/* 0: no limit */
	__u32 agent;	/* the agent's own hits are not part of the traced system */
	__u32 pid;	/* 0: any */
	__s32 cpu;	/* -1: any */
	__u32 sample;	/* record one in so many */
	char comm[16];	/* empty: any */
};

struct kp_gate {
	__u64 open;	/* 1 only while everything is planted */
	__u64 rows;
} __attribute__((aligned(128)));

/*
 * One per CPU, written by that CPU alone: a probe that is hit while a handler runs on the same CPU
 * is not handled but counted as missed (kprobe_running(), Documentation/trace/kprobes.rst).
 */
struct kp_cpu {
	__u64 hits;
	__u64 rows;
	__u64 filtered;
	__u64 sampled;
	__u64 dropped;
	__u64 entries;
	__u64 unpaired;
	__u64 skip;	/* hits left to sample out */
} __attribute__((aligned(128)));

struct kp_header {
	__u64 ts;	/* ns, CLOCK_MONOTONIC */
	__u32 pid;
	__u32 tid;
	__u32 cpu;
	__u16 site;
	__u16 row;
	char comm[16];
};

/* What is known of a hit before the handler's body begins. */
struct kp_hit {
	__u64 id;	/* tgid << 32 | tid */
	struct kp_cpu *cpu;
	__u32 site;	/* number of the place that was hit */
};

/* A running total, one per CPU, of one key of an aggregation. */
struct kp_total {
	__u64 n;
	__s64 v;
};

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
void kp_submit(struct kp_hit *hit, void *record);
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

#ifdef KP_BODY

#define SEC(name)
#define KP_USER_STACK (1 << 8)
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

/* Fill a typed variable from the 8-byte words that the caller passed it in. */
#define KP_ARGUMENT(name, ...) \
	__builtin_memcpy(&name, (__u64[]){ __VA_ARGS__ }, sizeof(name))

/* A value read from kernel memory; a bad address gives 0. */
#define KP_LOAD(type, address)                                            \
	({                                                                \
		typeof(type) kp_value;                                    \
		kp_read(&kp_value, sizeof(kp_value),                      \
			(const void *)(address));                         \
		kp_value;                                                 \
	})

/* A bit field: `bytes` bytes at `address + offset` hold it, `shift` bits up, `width` bits wide. */
#define KP_LOAD_BITS(type, wide, address, offset, bytes, shift, width)             \
	({                                                                         \
		__u64 kp_bits = 0;                                                 \
		kp_read(&kp_bits, bytes, (const void *)(address) + (offset));      \
		(typeof(type))((wide)(kp_bits << (64 - (shift) - (width))) >>      \
			       (64 - (width)));                                    \
	})

/* This CPU's place to put a key together in: the stack is too small for names. */
#define kp_key(keys) (&(keys)[kp_this_cpu() & (KP_CPUS - 1)])

static __always_inline void kp_add(struct kp_total *total, __s64 value)
{
	total->n++;
	total->v += value;
}

#define KP_BETTER(type, total, sign, value)                               \
	({                                                                \
		type kp_new = (value);                                    \
		if (!(total)->n || kp_new sign (type)(total)->v)          \
			(total)->v = kp_new;                              \
		(total)->n++;                                             \
	})

/* The bucket of a log2 histogram: b holds 2^(b-1) up to 2^b - 1, 0 holds 0, -b the negatives. */
static __always_inline __s32 kp_log2_bucket(__u64 value, bool is_signed)
{
	bool negative = is_signed && (__s64)value < 0;
	__s32 log;

	if (negative)
		value = -value;
	log = value ? 64 - __builtin_clzll(value) : 0;
	return negative ? -log : log;
}

/* The bucket of a linear histogram: 0 below low, then one for each step, then one for the rest. */
static __always_inline __s32 kp_step_bucket(__u64 value, bool is_signed, __s64 low, __s64 high,
					    __u64 step)
{
	__s64 number = value;

	if (!is_signed && number < 0)
		number = 0x7fffffffffffffff;
	if (number < low)
		return 0;
	if (number >= high)
		return 1 + ((__u64)(high - low) + step - 1) / step;
	return 1 + (__u64)(number - low) / step;
}

#include "members.bpf.h"

#endif /* KP_BODY */
#endif
