/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* A kernel of forty lines: the types that golden cells use, as BTF of a BPF object. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef _Bool bool;
typedef long long loff_t;
typedef unsigned long size_t;
typedef long ssize_t;

enum bpf_map_type { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_PERCPU_HASH = 5, BPF_MAP_TYPE_RINGBUF = 27 };
enum flags { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_RB_NO_WAKEUP = 1 };
enum truth { false, true };
enum color { RED = 1, GREEN = -2 };

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
struct qstr { __u32 hash; __u32 len; const unsigned char *name; };
struct dentry { struct dentry *d_parent; struct qstr d_name; unsigned char d_iname[32]; };
struct path { void *mnt; struct dentry *dentry; };
struct file {
	struct path f_path;
	unsigned int f_flags;
	unsigned int is_open : 1, mode : 3;
	int level : 5;
	loff_t f_pos;
	enum color color;
	bool ready;
	char label[16];
	struct { int depth; } *inner;
	union { int small; long large; };
	int *numbers;
};

struct owner { unsigned int val; };
struct span { long seconds, nanoseconds; };
enum hint { NONE, SOME } __attribute__((packed));
struct sock_common { unsigned short skc_family; unsigned char skc_reuse : 4, skc_reuseport : 1; char skc_name[4]; };
struct sock {
	struct sock_common __sk_common;
	union { struct { int first : 3, : 2, kind : 5; }; long all; };
	enum hint hint;
	int (*shut)(struct sock *sk);
	bool busy;
};

ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos) { return count; }
void nothing(int value) {}
ssize_t vfs_write(struct file *file, const char *buf, size_t count, loff_t *pos) { return count; }
int vfs_sync(struct file *file) { return 0; }
bool sock_ready(struct sock *sk) { return true; }
void (*sock_handler(struct sock *sk))(int) { return nothing; }

/* Types that are used by nothing do not reach BTF. */
enum bpf_map_type use_type;
enum flags use_flags;
enum truth use_truth;
struct pt_regs use_regs;
struct dentry use_dentry;
struct file use_file;
struct sock use_sock;
struct span use_span;
struct owner use_owner;
__s8 use_s8; __s16 use_s16; __s32 use_s32; __s64 use_s64;
__u8 use_u8; __u16 use_u16; __u32 use_u32; __u64 use_u64;
