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

#include "record.h"

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
static void *(*bpf_get_current_task_btf)(void) = (void *)158;
static __u64 (*bpf_get_attach_cookie)(void *context) = (void *)174;

/* A call that has begun, keyed by thread, place and stack pointer: right under recursion. */
struct kp_call_key {
	__u32 tid;
	__u32 site;
	__u64 sp;
};

/*
 * A variable without debug information: that of one `struct file *` would bring half the
 * kernel's types into the object, and take four times as long to compile.
 */
#define KP_LOCAL __attribute__((nodebug))

/* 0 for 0, 1 + log2 for what is above */
static __always_inline __s32 kp_log2(__u64 value)
{
	__s32 log = 0;

	if (value >> 32) { log += 32; value >>= 32; }
	if (value >> 16) { log += 16; value >>= 16; }
	if (value >> 8) { log += 8; value >>= 8; }
	if (value >> 4) { log += 4; value >>= 4; }
	if (value >> 2) { log += 2; value >>= 2; }
	if (value >> 1) { log += 1; value >>= 1; }
	return log + (__s32)value;
}

#include "body.h"

#endif
