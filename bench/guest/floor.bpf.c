// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The floor: what somebody who knows libbpf writes by hand for each shape of record, with a
 * counter of what did not fit, and nothing else.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define STACK_DEPTH 64
#define NAME 128

struct record_header {
	__u64 ts;
	__u32 pid, tid, cpu;
	char comm[16];
};

struct table_key {
	char comm[16];
	__s32 bucket;
};

struct began {
	__u64 ts;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct table_key);
	__type(value, __u64);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct began);
} calls SEC(".maps");

static __always_inline void *room(__u64 size)
{
	struct record_header *record = bpf_ringbuf_reserve(&ring, size, 0);
	__u64 id = bpf_get_current_pid_tgid();
	__u32 zero = 0;

	if (!record) {
		__u64 *count = bpf_map_lookup_elem(&dropped, &zero);

		if (count)
			++*count;
		return NULL;
	}
	record->ts = bpf_ktime_get_ns();
	record->pid = id >> 32;
	record->tid = id;
	record->cpu = bpf_get_smp_processor_id();
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	return record;
}

static __always_inline void add(struct table_key *key)
{
	__u64 *total = bpf_map_lookup_elem(&table, key), one = 1;

	if (total)
		++*total;
	else
		bpf_map_update_elem(&table, key, &one, BPF_NOEXIST);
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(empty)
{
	void *record = room(sizeof(struct record_header));

	if (record)
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(integers, struct file *file, char *buf, size_t count)
{
	struct { struct record_header header; __u64 file, buf, count; } *record = room(sizeof(*record));

	if (!record)
		return 0;
	record->file = (__u64)file;
	record->buf = (__u64)buf;
	record->count = count;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(string, struct file *file)
{
	struct { struct record_header header; char name[NAME]; } *record = room(sizeof(*record));
	struct dentry *dentry = NULL;
	const unsigned char *name = NULL;

	if (!record)
		return 0;
	bpf_probe_read_kernel(&dentry, sizeof(dentry), &file->f_path.dentry);
	bpf_probe_read_kernel(&name, sizeof(name), &dentry->d_name.name);
	bpf_probe_read_kernel_str(record->name, sizeof(record->name), name);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(stack)
{
	struct { struct record_header header; __u64 stack[STACK_DEPTH]; } *record = room(sizeof(*record));

	if (!record)
		return 0;
	bpf_get_stack(ctx, record->stack, sizeof(record->stack), 0);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(counted)
{
	struct table_key key = {};

	bpf_get_current_comm(key.comm, sizeof(key.comm));
	add(&key);
	return 0;
}

static __always_inline __s32 log2(__u64 v)
{
	__s32 r, s;

	r = (v > 0xFFFFFFFF) << 5; v >>= r;
	s = (v > 0xFFFF) << 4; v >>= s; r |= s;
	s = (v > 0xFF) << 3; v >>= s; r |= s;
	s = (v > 0xF) << 2; v >>= s; r |= s;
	s = (v > 0x3) << 1; v >>= s; r |= s;
	return r | (v >> 1);
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(histogram, struct file *file, char *buf, size_t count)
{
	struct table_key key = { .bucket = log2(count) };

	bpf_get_current_comm(key.comm, sizeof(key.comm));
	add(&key);
	return 0;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(returned_entry)
{
	struct began call = { .ts = bpf_ktime_get_ns() };
	__u32 tid = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
	return 0;
}

SEC("kretprobe/vfs_read")
int BPF_KRETPROBE(returned, long retval)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct began *call = bpf_map_lookup_elem(&calls, &tid);
	struct { struct record_header header; __s64 retval; __u64 latency; } *record;
	__u64 ts;

	if (!call)
		return 0;
	ts = call->ts;
	bpf_map_delete_elem(&calls, &tid);
	record = room(sizeof(*record));
	if (!record)
		return 0;
	record->retval = retval;
	record->latency = record->header.ts - ts;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
