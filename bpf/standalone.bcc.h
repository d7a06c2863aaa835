/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What a cell's handlers stand on when BCC compiles them for a script of its own. Needs KP_SELF,
 * the script's process id, and KP_SAMPLE.
 */

BPF_PERCPU_ARRAY(kp_cpus, struct kp_cpu, 1);

/* A call that has begun: right under recursion. */
struct kp_call_key {
	__u32 tid;
	__u32 site;
	__u64 sp;
};

#define KP_LOCAL

/* 0 for 0, 1 + log2 for what is above; bpf_log2l() has 1 for both 0 and 1 */
static __always_inline __s32 kp_log2(__u64 value)
{
	return value ? bpf_log2l(value) : 0;
}

/* Whether this hit is one of the traced system's. */
static __always_inline bool kp_watching(struct kp_hit *hit)
{
	int zero = 0;

	hit->id = bpf_get_current_pid_tgid();
	hit->number = bpf_get_smp_processor_id();
	hit->cpu = kp_cpus.lookup(&zero);
	return hit->cpu && hit->id >> 32 != KP_SELF;
}

/* Whether --sample leaves this hit out: the first of every KP_SAMPLE hits of a CPU is kept. */
static __always_inline bool kp_sampled_out(struct kp_hit *hit)
{
	if (KP_SAMPLE <= 1)
		return false;
	if (hit->cpu->skip) {
		hit->cpu->skip--;
		hit->cpu->sampled++;
		return true;
	}
	hit->cpu->skip = KP_SAMPLE - 1;
	return false;
}

static __always_inline void kp_comm(const struct kp_hit *hit, char to[16])
{
	__builtin_memset(to, 0, 16);
	bpf_get_current_comm(to, 16);
}

/* A row's header, the name of the task with it. */
static __always_inline void kp_named_head(const struct kp_hit *hit, struct kp_header *header,
					  __u64 ts, __u16 row)
{
	kp_head(header, hit, ts, row);
	kp_comm(hit, header->comm);
}
