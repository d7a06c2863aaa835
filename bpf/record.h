/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What every handler shares with the agent and the notebook, be it a BPF program or a module:
 * its settings, its counters, the beginning of each record. kpmagic/agent/wire.py and
 * kpmagic/model.py are the other end.
 */
#ifndef KPMAGIC_RECORD_H
#define KPMAGIC_RECORD_H

/* Set by the agent before the gate opens; the verifier drops what is switched off in it. */
struct kp_config {
	__u64 cgroup;	/* 0: any */
	__u32 agent;	/* the agent's own hits are not part of the traced system */
	__u32 pid;	/* 0: any */
	__s32 cpu;	/* -1: any */
	__u32 sample;	/* record one in so many */
	char comm[16];	/* empty: any */
	__u32 asked;	/* KP_FILTERED and the like: what of all this is looked at, read once a hit */
	__u32 unused;
};

#define KP_FILTERED 1	/* cgroup, pid, cpu or comm */
#define KP_SAMPLED 2	/* sample */
#define KP_EASED 4	/* one_in of the gate */

struct kp_gate {
	__u64 until;	/* open until there are so many rows: 0 but while everything is planted */
	__u64 rows;	/* of all CPUs, as far as each has told */
	__u64 one_in;	/* --max-overhead: record one hit in so many, written by the agent */
} __attribute__((aligned(128)));

/*
 * One per CPU, written by that CPU alone: while a handler runs, a probe that is hit on the same
 * CPU is not handled but missed (BPF: trace_call_bpf, bpf_prog_active; a module: kprobe_running,
 * Documentation/trace/kprobes.rst).
 */
struct kp_cpu {
	__u64 hits;
	__u64 rows;
	__u64 filtered;
	__u64 sampled;
	__u64 dropped;
	__u64 entries;
	__u64 unpaired;
	__u64 injected;
	__u64 skip;	/* hits left to sample out */
	__u64 spare;	/* hits left to leave out for --max-overhead */
	__u64 runs;	/* of a module's handlers, and the time they took, in ns */
	__u64 busy;
	__u64 untold;	/* rows that are not in the gate's yet */
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
	__u32 number;	/* of the CPU */
	__u32 asked;	/* of the settings */
	__u32 turns;	/* of loops, in a module */
	__u8 wanted;	/* no filter and no sampling left it out */
	__u8 nearly;	/* there are almost as many rows as were asked for */
	__u8 injected;	/* the function is to return `value` */
	__u64 value;
	__u64 began;	/* a module's handler, kp_time() */
	const void *task;	/* a BPF program's KP_CURRENT */
};

/* All of a row's header but comm. */
static __always_inline void kp_head(struct kp_header *header, const struct kp_hit *hit, __u64 ts,
				    __u16 row)
{
	header->ts = ts;
	header->pid = hit->id >> 32;
	header->tid = hit->id;
	header->cpu = hit->number;
	header->site = hit->site;
	header->row = row;
}

/* A running total, one per CPU, of one key of an aggregation. */
struct kp_total {
	__u64 n;
	__s64 v;
};

#endif
