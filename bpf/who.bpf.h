/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Who runs, and where. With KP_CURRENT the kernel's own struct says it, read in place: one helper
 * instead of three, of which that for the name takes as long as a row's place in the buffer.
 */
#ifndef KPMAGIC_WHO_BPF_H
#define KPMAGIC_WHO_BPF_H

#ifdef KP_CURRENT

static __always_inline void kp_who(struct kp_hit *hit)
{
	const struct task_struct *task KP_LOCAL = bpf_get_current_task_btf();

	hit->task = task;
	hit->id = (__u64)task->tgid << 32 | (__u32)task->pid;
	hit->number = task->thread_info.cpu;
}

static __always_inline void kp_comm(const struct kp_hit *hit, char to[16])
{
	const struct task_struct *task KP_LOCAL = hit->task;

	((__u64 *)to)[0] = ((const __u64 *)task->comm)[0];
	((__u64 *)to)[1] = ((const __u64 *)task->comm)[1];
}

#else

static __always_inline void kp_who(struct kp_hit *hit)
{
	hit->id = bpf_get_current_pid_tgid();
	hit->number = bpf_get_smp_processor_id();
}

static __always_inline void kp_comm(const struct kp_hit *hit, char to[16])
{
	/* not every kernel pads; two words, where memset() of what follows two halves is four */
	((__u64 *)to)[0] = 0;
	((__u64 *)to)[1] = 0;
	bpf_get_current_comm(to, 16);
}

#endif

#endif
