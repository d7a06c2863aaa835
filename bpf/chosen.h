/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Which hits the options choose, the same for both ways into the kernel. Whoever includes it has
 * kp_config, the gate as KP_GATE, and kp_current_cgroup() and kp_comm().
 */
#ifndef KPMAGIC_CHOSEN_H
#define KPMAGIC_CHOSEN_H

/* volatile: a constant of a BPF program has its value only when the program is loaded */
#define KP_WORDS_OF(text) ((const volatile __u64 *)(text))

static __always_inline bool kp_other_comm(const struct kp_hit *hit, const volatile __u64 *asked)
{
	char comm[16] __attribute__((aligned(8)));

	kp_comm(hit, comm);
	return KP_WORDS_OF(comm)[0] != asked[0] || KP_WORDS_OF(comm)[1] != asked[1];
}

static __always_inline bool kp_unwanted(const struct kp_hit *hit)
{
	const volatile __u64 *name = KP_WORDS_OF(kp_config.comm);

	if (!(hit->asked & KP_FILTERED))
		return false;
	if (kp_config.cgroup && kp_current_cgroup() != kp_config.cgroup)
		return true;
	if (kp_config.pid && hit->id >> 32 != kp_config.pid)
		return true;
	if (kp_config.cpu >= 0 && hit->number != kp_config.cpu)
		return true;
	return name[0] && kp_other_comm(hit, name);
}

/* One hit in so many is recorded, as the agent has it now. */
static __always_inline __u64 kp_one_in(const struct kp_hit *hit)
{
	return hit->asked & KP_EASED ? ((const volatile struct kp_gate *)KP_GATE)->one_in : 1;
}

/* Whether this hit is left out for --max-overhead: the first of every `one_in` of a CPU is not. */
static __always_inline bool kp_spared(struct kp_hit *hit)
{
	__u64 one_in = kp_one_in(hit);

	if (one_in <= 1)
		return false;
	if (!hit->cpu->spare) {
		hit->cpu->spare = one_in - 1;
		return false;
	}
	hit->cpu->spare--;
	hit->cpu->sampled++;
	return true;
}

/* Count the hit; whether the options want it. */
static __always_inline bool kp_wanted(struct kp_hit *hit)
{
	hit->cpu->hits++;
	if (!kp_unwanted(hit))
		return true;
	hit->cpu->filtered++;
	return false;
}

/* The same where no call has begun before: what --max-overhead leaves out is not wanted. */
static __always_inline bool kp_begin(struct kp_hit *hit)
{
	return kp_wanted(hit) && !kp_spared(hit);
}

/* Whether --max-overhead leaves a call out: it is counted now, and its return not looked at. */
static __always_inline bool kp_spared_call(struct kp_hit *hit)
{
	if (kp_one_in(hit) <= 1)
		return false;
	if (kp_unwanted(hit))
		hit->cpu->filtered++;
	else if (!kp_spared(hit))
		return false;
	hit->cpu->hits++;
	hit->cpu->entries++;
	return true;
}

/* Whether --sample leaves this hit out: the first of every `sample` hits of a CPU is kept. */
static __always_inline bool kp_skipped(struct kp_hit *hit)
{
	if (!(hit->asked & KP_SAMPLED))
		return false;
	if (hit->cpu->skip) {
		hit->cpu->skip--;
		hit->cpu->sampled++;
		return true;
	}
	hit->cpu->skip = kp_config.sample - 1;
	return false;
}

#endif
