/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Members that the kernel's own source calls by a macro's name, which BTF does not know:
 * sk->sk_state is sk->__sk_common.skc_state (include/net/sock.h, include/net/inet_sock.h).
 */
#ifndef KPMAGIC_MEMBERS_H
#define KPMAGIC_MEMBERS_H

#define sk_family __sk_common.skc_family
#define sk_state __sk_common.skc_state
#define sk_num __sk_common.skc_num
#define sk_dport __sk_common.skc_dport
#define sk_daddr __sk_common.skc_daddr
#define sk_rcv_saddr __sk_common.skc_rcv_saddr
#define sk_v6_daddr __sk_common.skc_v6_daddr
#define sk_v6_rcv_saddr __sk_common.skc_v6_rcv_saddr
#define sk_bound_dev_if __sk_common.skc_bound_dev_if
#define sk_prot __sk_common.skc_prot
#define sk_net __sk_common.skc_net
#define sk_hash __sk_common.skc_hash
#define sk_refcnt __sk_common.skc_refcnt
#define sk_flags __sk_common.skc_flags
#define sk_cookie __sk_common.skc_cookie
#define sk_incoming_cpu __sk_common.skc_incoming_cpu
#define sk_reuse __sk_common.skc_reuse
#define sk_reuseport __sk_common.skc_reuseport
#define sk_ipv6only __sk_common.skc_ipv6only

#define inet_daddr sk.__sk_common.skc_daddr
#define inet_rcv_saddr sk.__sk_common.skc_rcv_saddr
#define inet_dport sk.__sk_common.skc_dport
#define inet_num sk.__sk_common.skc_num

#endif
