/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What a handler stands on when BCC compiles it: the header of the other BPF handlers, whose
 * helpers get names of their own here, for BCC includes its own before everything else.
 */
#ifndef KPMAGIC_BCC_H
#define KPMAGIC_BCC_H

#undef SEC
#undef __always_inline
#undef __uint
#undef __type

#define bpf_map_lookup_elem kp_map_lookup_elem
#define bpf_map_update_elem kp_map_update_elem
#define bpf_map_delete_elem kp_map_delete_elem
#define bpf_ktime_get_ns kp_ktime_get_ns
#define bpf_get_smp_processor_id kp_get_smp_processor_id
#define bpf_get_current_pid_tgid kp_get_current_pid_tgid
#define bpf_get_current_uid_gid kp_get_current_uid_gid
#define bpf_get_current_comm kp_get_current_comm
#define bpf_get_current_task kp_get_current_task
#define bpf_get_current_task_btf kp_get_current_task_btf
#define bpf_get_stack kp_get_stack
#define bpf_get_current_cgroup_id kp_get_current_cgroup_id
#define bpf_probe_read_user kp_probe_read_user
#define bpf_probe_read_kernel kp_probe_read_kernel
#define bpf_probe_read_user_str kp_probe_read_user_str
#define bpf_probe_read_kernel_str kp_probe_read_kernel_str
#define bpf_ringbuf_reserve kp_ringbuf_reserve
#define bpf_ringbuf_submit kp_ringbuf_submit
#define bpf_get_attach_cookie kp_get_attach_cookie

/*
 * A map by its descriptor in the process that loads, and the one value of an array as a variable:
 * linux/bpf.h, BPF_PSEUDO_MAP_FD and BPF_PSEUDO_MAP_VALUE. bpf_pseudo_fd() is BCC's.
 */
#define KP_MAP(name) (*(char *)bpf_pseudo_fd(1, KP_FD_##name))
#define KP_VARIABLE(type, name) (*(type *)bpf_pseudo_fd(2, KP_FD_##name))

#define KP_BCC

#endif
