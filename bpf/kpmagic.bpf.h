/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What every generated BPF handler stands on: helpers of the kernel, the gate, the counters,
 * safe loads. Precompiled together with the kernel's own types (vmlinux.h).
 */
#ifndef KPMAGIC_BPF_H
#define KPMAGIC_BPF_H

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

#ifndef NULL
#define NULL ((void *)0)
#endif

/* uapi/linux/bpf.h: enum bpf_func_id; the numbers are the kernel's ABI */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static __u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static __u64 (*bpf_get_current_uid_gid)(void) = (void *)15;
static long (*bpf_get_current_comm)(void *buf, __u32 size) = (void *)16;
static __u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_get_stack)(void *context, void *buf, __u32 size, __u64 flags) = (void *)67;
static __u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*bpf_probe_read_user)(void *dst, __u32 size, const void *src) = (void *)112;
static long (*bpf_probe_read_kernel)(void *dst, __u32 size, const void *src) = (void *)113;
static long (*bpf_probe_read_user_str)(void *dst, __u32 size, const void *src) = (void *)114;
static long (*bpf_probe_read_kernel_str)(void *dst, __u32 size, const void *src) = (void *)115;
static void *(*bpf_ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static __u64 (*bpf_get_attach_cookie)(void *context) = (void *)174;

/* Set by the agent before the program is loaded: the verifier drops what is switched off. */
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
	__u64 open;	/* 1 only while everything is attached */
	__u64 rows;
} __attribute__((aligned(128)));

/*
 * One per CPU, written by that CPU alone: the kernel does not run a kprobe's program while
 * another one runs on the same CPU (trace_call_bpf, bpf_prog_active).
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

/* A call that has begun, keyed by thread, place and stack pointer: right under recursion. */
struct kp_call_key {
	__u32 tid;
	__u32 site;
	__u64 sp;
};

/* A running total, one per CPU, of one key of an aggregation. */
struct kp_total {
	__u64 n;
	__s64 v;
};

/*
 * A variable without debug information: that of one `struct file *` would bring half the
 * kernel's types into the object, and take four times as long to compile.
 */
#define KP_LOCAL __attribute__((nodebug))

/* Fill a typed variable from the 8-byte words that the caller passed it in. */
#define KP_ARGUMENT(name, ...) \
	__builtin_memcpy(&name, (__u64[]){ __VA_ARGS__ }, sizeof(name))

/* uapi/linux/bpf.h: BPF_F_USER_STACK */
#define KP_USER_STACK (1 << 8)

/* A value read from kernel memory; a bad address gives 0. */
#define KP_LOAD(type, address)                                       \
	({                                                           \
		typeof(type) kp_value KP_LOCAL;                      \
		bpf_probe_read_kernel(&kp_value, sizeof(kp_value),   \
				      (const void *)(address));      \
		kp_value;                                            \
	})

/* A bit field: `bytes` bytes at `address + offset` hold it, `shift` bits up, `width` bits wide. */
#define KP_LOAD_BITS(type, wide, address, offset, bytes, shift, width)             \
	({                                                                         \
		__u64 kp_bits = 0;                                                 \
		bpf_probe_read_kernel(&kp_bits, bytes,                             \
				      (const void *)(address) + (offset));         \
		(typeof(type))((wide)(kp_bits << (64 - (shift) - (width))) >>      \
			       (64 - (width)));                                    \
	})

/* volatile: a constant of .rodata has its value only when the program is loaded */
#define KP_SAME_16(a, b)                                                                      \
	(((const volatile __u64 *)(a))[0] == ((const volatile __u64 *)(b))[0] &&              \
	 ((const volatile __u64 *)(a))[1] == ((const volatile __u64 *)(b))[1])

#define KP_HAS_COMM(config) (((const volatile __u64 *)(config)->comm)[0])

#include "members.bpf.h"

#endif
