/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What a body's words become, the same for both ways into the kernel. Whoever includes it has the
 * helpers by their BPF names, KP_LOCAL, kp_log2() and, where keys are put together, KP_CPUS.
 */
#ifndef KPMAGIC_BODY_H
#define KPMAGIC_BODY_H

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

/* An index of an array of `n` elements: BPF's verifier has seen that it is below. */
#ifndef KP_INDEX
#define KP_INDEX(i, n) (i)
#endif

/* A turn of a loop: BPF's verifier has seen that there is a last one. */
#ifndef KP_TURN
#define KP_TURN 1
#endif

/*
 * Division as BPF has it: by 0 the quotient is 0, and the remainder all of it. It has none with a
 * sign before its fourth version of instructions.
 */
#define KP_QUOTIENT(a, b) KP_DIVIDED(kp_quotient, a, b)
#define KP_REMAINDER(a, b) KP_DIVIDED(kp_remainder, a, b)
#define KP_DIVIDED(how, a, b)                                                \
	({                                                                   \
		typeof((a) / (b)) kp_a = (a), kp_b = (b);                    \
		bool kp_sign = (typeof(kp_a))-1 < 1;                         \
		(typeof(kp_a))how(kp_a, kp_b, kp_sign && kp_a < 0, kp_sign && kp_b < 0); \
	})

static __always_inline __u64 kp_quotient(__u64 a, __u64 b, bool below, bool divisor_below)
{
	a = below ? -a : a;
	b = divisor_below ? -b : b;
	a = b ? a / b : 0;
	return below != divisor_below ? -a : a;
}

static __always_inline __u64 kp_remainder(__u64 a, __u64 b, bool below, bool divisor_below)
{
	a = below ? -a : a;
	b = divisor_below ? -b : b;
	a = b ? a % b : a;
	return below ? -a : a;
}

/* This CPU's place to put a key together in: the stack is too small for names. */
#define kp_key(hit, keys) (&(keys)[(hit)->number & (KP_CPUS - 1)])

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
	if (is_signed && (__s64)value < 0)
		return -kp_log2(-value);
	return kp_log2(value);
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

#include "errno.h"
#include "members.h"

#endif
