/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What a module needs to change what a function returns: a limit, a chance, and a place that does
 * nothing but return (as arch/x86/lib/error-inject.c, which most kernels are built without).
 */
#ifndef KPMAGIC_INJECT_KMOD_H
#define KPMAGIC_INJECT_KMOD_H

#include <linux/linkage.h>

#ifndef ASM_RET
#define ASM_RET "ret\n"
#endif

static unsigned long times;
module_param(times, ulong, 0400);
MODULE_PARM_DESC(times, "inject at most so often; 0 for no limit");

static unsigned int chance = UINT_MAX;
module_param(chance, uint, 0400);
MODULE_PARM_DESC(chance, "inject with this chance of 4294967295");

static atomic_long_t kp_injections;

asm(".pushsection .text\n"
    ".type kp_just_return, @function\n"
    "kp_just_return:\n"
    ASM_RET
    ".size kp_just_return, .-kp_just_return\n"
    ".popsection\n");
extern void kp_just_return(void);

/* A number that nobody else on this CPU has drawn (Marsaglia's xorshift). */
static u32 kp_random(void)
{
	static u32 states[KP_CPUS];
	u32 *state = &states[kp_this_cpu() & (KP_CPUS - 1)];

	if (!*state)
		*state = (u32)kp_time() | 1;
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Whether chance and limit allow one more; if not, the hit is counted as filtered. */
bool kp_may_inject(struct kp_hit *hit)
{
	if ((chance == UINT_MAX || kp_random() <= chance) &&
	    (!times || atomic_long_inc_return(&kp_injections) <= times))
		return true;
	hit->cpu->filtered++;
	return false;
}

/*
 * At a function's entry its caller's address is on top of the stack: to go on at a return is to
 * have been called for nothing. 1 tells the kernel that the instruction pointer is another.
 */
static int __maybe_unused kp_skip(const struct kp_hit *hit, struct pt_regs *regs)
{
	if (!hit->injected)
		return 0;
	hit->cpu->injected++;
	regs->ax = hit->value;
	regs->ip = (unsigned long)kp_just_return;
	return 1;
}

/* At a return what is in ax is what the caller gets. */
static void __maybe_unused kp_replace(const struct kp_hit *hit, struct pt_regs *regs)
{
	if (!hit->injected)
		return;
	hit->cpu->injected++;
	regs->ax = hit->value;
}

#endif
