/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What happens around a handler's body in a module: is the gate open, does a filter say no, where
 * does the row go; and the device through which the agent reads. Needs KP_CPUS (a power of two),
 * KP_RECORD (bytes), KP_SITES and KP_TABLES from the generated source.
 *
 * Handlers run with preemption disabled and may interrupt anything: nothing here allocates,
 * sleeps or waits for a lock that a handler can have interrupted (Documentation/trace/kprobes.rst).
 */
#ifndef KPMAGIC_FRAME_KMOD_H
#define KPMAGIC_FRAME_KMOD_H

#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/jhash.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sched/task_stack.h>
#include <linux/spinlock.h>
#include <linux/stacktrace.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#define KP_STRIDE (8 + ((KP_RECORD + 7) & ~7))	/* a record behind its length */
#define KP_GATE_OFFSET (1UL << 30)		/* where the agent maps gate and counters */
#define KP_TABLE_OFFSET (1UL << 31)		/* and where, this far apart, the tables */
#define KP_SLOTS 16384				/* of a table on one CPU */
#define KP_KEYS 10240				/* that may be in use */
#define KP_DEPTH 256				/* of a stack */
#define KP_CALL_SIZE 9				/* endbr64 and a call */
#define KP_OF_USER (1 << 8)			/* KP_USER_STACK of a body */
#define KP_CONFIGURE _IOW('k', 1, struct kp_config)
#define KP_DETACH _IO('k', 2)

static struct kp_config kp_config;

struct kp_shared {
	struct kp_gate gate;
	struct kp_cpu cpu[KP_CPUS];
};
static struct kp_shared *kp;

/* Laid out as the kernel's own ring buffer for BPF: two pages of positions, then the data. */
static struct {
	unsigned long *consumer;
	unsigned long *producer;
	char *data;
	raw_spinlock_t lock;
} kp_ring;

static char kp_records[KP_CPUS][KP_RECORD] __aligned(8);

static unsigned long buffer = 8 << 20;
module_param(buffer, ulong, 0400);
MODULE_PARM_DESC(buffer, "bytes of the ring buffer, a power of two");

static unsigned long addresses[KP_SITES];
module_param_array(addresses, ulong, NULL, 0400);
MODULE_PARM_DESC(addresses, "where to plant what has no name of its own");

static int kp_errors[KP_SITES];	/* what register_…probe() said */

__u64 kp_time(void)
{
	return ktime_get_mono_fast_ns();
}

__u32 kp_this_cpu(void)
{
	return raw_smp_processor_id();
}

__u64 kp_current_id(void)
{
	return (__u64)current->tgid << 32 | current->pid;
}

__u64 kp_current_user(void)
{
	return (__u64)__kgid_val(current_gid()) << 32 | __kuid_val(current_uid());
}

__u64 kp_current_task(void)
{
	return (unsigned long)current;
}

__u64 kp_current_cgroup(void)
{
	__u64 id;

	rcu_read_lock();
	id = cgroup_id(task_dfl_cgroup(current));
	rcu_read_unlock();
	return id;
}

long kp_current_comm(void *to, __u32 size)
{
	strscpy_pad(to, current->comm, size);
	return 0;
}

long kp_read(void *to, __u32 size, const void *from)
{
	long ret = copy_from_kernel_nofault(to, from, size);

	if (ret)
		memset(to, 0, size);
	return ret;
}

long kp_read_user(void *to, __u32 size, const void *from)
{
	long ret = copy_from_user_nofault(to, (const void __user *)from, size);

	if (ret)
		memset(to, 0, size);
	return ret;
}

/* A text up to its NUL, never over the end of a page that may be the last. */
static long kp_text(char *to, __u32 size, const char *from, bool user)
{
	__u32 done = 0, part;
	char *end;

	while (done < size - 1) {
		part = min_t(__u32, size - 1 - done, 64);
		part = min_t(__u32, part, PAGE_SIZE - offset_in_page(from + done));
		if (user ? kp_read_user(to + done, part, from + done) :
			   kp_read(to + done, part, from + done)) {
			memset(to, 0, size);
			return -EFAULT;
		}
		end = memchr(to + done, 0, part);
		if (end) {
			memset(end, 0, to + size - end);
			return end - to + 1;
		}
		done += part;
	}
	to[size - 1] = 0;
	return size;
}

long kp_read_text(void *to, __u32 size, const void *from)
{
	return kp_text(to, size, from, false);
}

long kp_read_user_text(void *to, __u32 size, const void *from)
{
	return kp_text(to, size, from, true);
}

/* The return addresses that a process's frame pointers lead to. */
static void kp_user_stack(__u64 *to, __u32 most)
{
	struct pt_regs *regs = task_pt_regs(current);
	unsigned long frame[2] = { regs->bp, regs->ip };
	__u32 i;

	for (i = 0; i < most && frame[1]; i++) {
		to[i] = frame[1];
		if (kp_read_user(frame, sizeof(frame), (void *)frame[0]))
			break;
	}
}

/* The callers of the probed function, innermost first, without those of the probe itself. */
long kp_stack(void *context, void *to, __u32 size, __u64 flags)
{
	static unsigned long all[KP_CPUS][KP_DEPTH];
	unsigned long *found = all[kp_this_cpu() & (KP_CPUS - 1)];
	struct pt_regs *regs = context;
	__u32 count, first, i, most = size / sizeof(__u64);
	__u64 *out = to;

	memset(to, 0, size);
	if (flags & KP_OF_USER) {
		if (current->mm)
			kp_user_stack(out, most);
		return size;
	}
	count = stack_trace_save(found, KP_DEPTH, 0);
	/* where ftrace planted the probe, the trace has the address behind its call */
	for (first = 0; first < count && found[first] - regs->ip > KP_CALL_SIZE; first++)
		;
	out[0] = regs->ip;
	for (i = 1; i < most && first + i < count; i++)
		out[i] = found[first + i];
	return size;
}

/* Whether this hit is one of the traced system's while the gate is open. */
static bool kp_watching(struct kp_hit *hit)
{
	if (READ_ONCE(kp->gate.rows) >= READ_ONCE(kp->gate.until))
		return false;
	hit->id = kp_current_id();
	if (hit->id >> 32 == kp_config.agent)
		return false;
	hit->number = kp_this_cpu();
	hit->cpu = &kp->cpu[hit->number & (KP_CPUS - 1)];
	hit->asked = kp_config.asked;
	hit->began = kp_time();
	return true;
}

#define KP_GATE (&kp->gate)
#include "chosen.h"

/* The handler of a hit that was watched is through: what it took. */
static void kp_end(struct kp_hit *hit)
{
	hit->cpu->runs++;
	hit->cpu->busy += kp_time() - hit->began;
}

/* What chosen.h says of --sample, for the body, which is compiled apart. */
bool kp_sampled_out(struct kp_hit *hit)
{
	return kp_skipped(hit);
}

/* This CPU's place to put a row together in, its header filled in. */
void *kp_reserve(struct kp_hit *hit, __u64 ts, __u16 row)
{
	struct kp_header *header = (void *)kp_records[kp_this_cpu() & (KP_CPUS - 1)];

	memset(header, 0, KP_RECORD);
	kp_head(header, hit, ts, row);
	kp_current_comm(header->comm, sizeof(header->comm));
	return header;
}

/* Copy to the ring, where what does not fit at its end goes on at its beginning. */
static void kp_put(unsigned long position, const void *from, size_t size)
{
	unsigned long start = position & (buffer - 1);
	size_t first = min_t(size_t, size, buffer - start);

	memcpy(kp_ring.data + start, from, first);
	memcpy(kp_ring.data, from + first, size - first);
}

/* Put a row into the ring, and say whether there was room; where there is none, it is counted. */
bool kp_submit(struct kp_hit *hit, void *record)
{
	const __u64 length = KP_RECORD;
	unsigned long flags, position;
	bool room;

	raw_spin_lock_irqsave(&kp_ring.lock, flags);
	position = *kp_ring.producer;
	room = position - smp_load_acquire(kp_ring.consumer) + KP_STRIDE <= buffer;
	if (room) {
		kp_put(position, &length, sizeof(length));
		kp_put(position + sizeof(length), record, KP_RECORD);
		smp_store_release(kp_ring.producer, position + KP_STRIDE);
		kp->gate.rows++;
	}
	raw_spin_unlock_irqrestore(&kp_ring.lock, flags);
	if (room)
		hit->cpu->rows++;
	else
		hit->cpu->dropped++;
	return room;
}

/* A slot of a table: 1 when in use, the total, the key. */
#define KP_SLOT_SIZE(table) (sizeof(__u64) + sizeof(struct kp_total) + (table)->key_size)
#define KP_TABLE_SIZE(table) PAGE_ALIGN((size_t)KP_CPUS * KP_SLOTS * KP_SLOT_SIZE(table))

/* The running total of a key on this CPU; NULL, and counted, when the table is full. */
struct kp_total *kp_total(struct kp_hit *hit, struct kp_table *table, const void *key)
{
	__u32 cpu = kp_this_cpu() & (KP_CPUS - 1), size = KP_SLOT_SIZE(table), i;
	__u32 hash = jhash(key, table->key_size, 0);
	char *slots = table->slots + (size_t)cpu * KP_SLOTS * size;

	for (i = 0; i < KP_SLOTS; i++) {
		__u64 *slot = (void *)(slots + (size_t)((hash + i) & (KP_SLOTS - 1)) * size);
		struct kp_total *total = (void *)(slot + 1);

		if (*slot && !memcmp(total + 1, key, table->key_size))
			return total;
		if (*slot)
			continue;
		if (table->keys[cpu] >= KP_KEYS)
			break;
		table->keys[cpu]++;
		memcpy(total + 1, key, table->key_size);
		smp_store_release(slot, 1);
		return total;
	}
	hit->cpu->dropped++;
	return NULL;
}

static struct kp_table *const kp_tables[KP_TABLES + 1];
static void kp_unplant(void);
static __u64 kp_missed(void);

/* Map `size` bytes of vmalloc()ed memory at `start`. */
static int kp_map(struct vm_area_struct *vma, unsigned long start, void *from, unsigned long size)
{
	unsigned long at;
	int ret = 0;

	for (at = 0; at < size && !ret; at += PAGE_SIZE)
		ret = vm_insert_page(vma, start + at, vmalloc_to_page(from + at));
	return ret;
}

static int kp_map_ring(struct vm_area_struct *vma, unsigned long size)
{
	int ret;

	if (!vma->vm_pgoff)
		return size == PAGE_SIZE ? kp_map(vma, vma->vm_start, kp_ring.consumer, size) : -EINVAL;
	if (vma->vm_pgoff != 1 || size != PAGE_SIZE + 2 * buffer || vma->vm_flags & VM_WRITE)
		return -EINVAL;
	/* the data twice in a row, so that no record is cut for the reader */
	ret = kp_map(vma, vma->vm_start, kp_ring.producer, PAGE_SIZE + buffer);
	if (!ret)
		ret = kp_map(vma, vma->vm_start + PAGE_SIZE + buffer, kp_ring.data, buffer);
	return ret;
}

static int kp_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long offset = vma->vm_pgoff << PAGE_SHIFT, size = vma->vm_end - vma->vm_start;
	unsigned long number = offset / KP_TABLE_OFFSET - 1;

	if (offset < KP_GATE_OFFSET)
		return kp_map_ring(vma, size);
	if (offset == KP_GATE_OFFSET && size == PAGE_ALIGN(sizeof(*kp)))
		return kp_map(vma, vma->vm_start, kp, size);
	if (offset < KP_TABLE_OFFSET || offset % KP_TABLE_OFFSET || number >= KP_TABLES ||
	    vma->vm_flags & VM_WRITE || size != KP_TABLE_SIZE(kp_tables[number]))
		return -EINVAL;
	return kp_map(vma, vma->vm_start, kp_tables[number]->slots, size);
}

static long kp_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	if (command == KP_CONFIGURE)
		return copy_from_user(&kp_config, (void __user *)argument, sizeof(kp_config)) ?
		       -EFAULT : 0;
	if (command != KP_DETACH)
		return -ENOTTY;
	kp_unplant();
	return 0;
}

/* What became of each place, and how many hits the kernel itself has missed. */
static ssize_t kp_status(struct file *file, char __user *to, size_t size, loff_t *position)
{
	struct {
		__u64 missed;
		__s32 errors[KP_SITES];
	} status = { .missed = kp_missed() };

	memcpy(status.errors, kp_errors, sizeof(kp_errors));
	size = min(size, sizeof(status));
	return copy_to_user(to, &status, size) ? -EFAULT : size;
}

/* The agent is gone, however it went: no handler runs any more. */
static int kp_release(struct inode *inode, struct file *file)
{
	WRITE_ONCE(kp->gate.until, 0);
	kp_unplant();
	return 0;
}

static const struct file_operations kp_operations = {
	.owner = THIS_MODULE,
	.read = kp_status,
	.mmap = kp_mmap,
	.unlocked_ioctl = kp_ioctl,
	.release = kp_release,
};

static struct miscdevice kp_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = KBUILD_MODNAME,
	.fops = &kp_operations,
	.mode = 0600,
};

static void kp_free(void)
{
	int i;

	for (i = 0; i < KP_TABLES; i++)
		vfree(kp_tables[i]->slots);
	vfree(kp_ring.consumer);
	vfree(kp);
}

/* All memory that handlers will use. */
static int kp_allocate(void)
{
	char *ring;
	int i;

	if (buffer < PAGE_SIZE || buffer & (buffer - 1))
		return -EINVAL;
	raw_spin_lock_init(&kp_ring.lock);
	kp = vmalloc_user(PAGE_ALIGN(sizeof(*kp)));
	ring = vmalloc_user(2 * PAGE_SIZE + buffer);
	kp_ring.consumer = (void *)ring;
	if (!kp || !ring)
		goto none;
	kp_ring.producer = (void *)(ring + PAGE_SIZE);
	kp_ring.data = ring + 2 * PAGE_SIZE;
	for (i = 0; i < KP_TABLES; i++) {
		kp_tables[i]->slots = vmalloc_user(KP_TABLE_SIZE(kp_tables[i]));
		if (!kp_tables[i]->slots)
			goto none;
	}
	return 0;
none:
	kp_free();
	return -ENOMEM;
}

#endif
