/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_PROBE_PACKETS_BPF_H
#define STALLSCOPE_TRACE_PROBE_PACKETS_BPF_H

/* Follows the probes' own packets through receive queues: recognises them by their ICMP identifier, and tells when each was put
 * into a queue and when the network stack began with it. A packet of anybody else costs two comparisons, or one short read if it is
 * IPv4 and short. */

#include "bpf/kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "trace/events.bpf.h"
#include "trace/task.bpf.h"
#include "trace/wait_record.h"

#define ETH_P_IP 0x0800
#define IPPROTO_ICMP 1
#define ICMP_ECHO 8
#define ICMP_ECHOREPLY 0
/* A probe has 44 bytes, IP header included. This leaves room for IP options and for what links and hosts pad. */
#define LONGEST_PROBE_BYTES 256

/* Identifier of our echo requests, network order; watched only when set. */
const volatile __u16 icmp_identifier = 0;
const volatile __u8 watch_probes = 0;

/* When a probe's packet was put into a queue, by sequence, direction and interface. Bounded: 65,536 outstanding packets. */
struct probe_key {
  __u32 ifindex;
  __u16 sequence;
  __u8 is_reply;
  __u8 pad;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 65536);
  __type(key, struct probe_key);
  __type(value, __u64);
} enqueue_times SEC(".maps");

/* Whether the packet is one of our probes; fills sequence and direction. Both hooks see skb->data at the network header:
 * eth_type_trans has pulled the link header. */
static __always_inline bool is_probe(struct sk_buff* skb, struct probe_key* key) {
  struct {
    __u8 version_and_words;
    __u8 service;
    __u16 length;
    __u16 id;
    __u16 fragment;
    __u8 ttl;
    __u8 protocol;
  } ip;
  struct {
    __u8 type;
    __u8 code;
    __u16 checksum;
    __u16 identifier;
    __u16 sequence;
  } icmp;
  unsigned char* data;

  if (!watch_probes || skb->len > LONGEST_PROBE_BYTES || skb->protocol != bpf_htons(ETH_P_IP))
    return false;
  data = skb->data;
  if (bpf_probe_read_kernel(&ip, sizeof(ip), data) || ip.protocol != IPPROTO_ICMP || (ip.fragment & bpf_htons(0x1fff)))
    return false;
  if (bpf_probe_read_kernel(&icmp, sizeof(icmp), data + (ip.version_and_words & 0xf) * 4) || icmp.identifier != icmp_identifier ||
      (icmp.type != ICMP_ECHO && icmp.type != ICMP_ECHOREPLY))
    return false;
  key->ifindex = skb->dev->ifindex;
  key->sequence = bpf_ntohs(icmp.sequence);
  key->is_reply = icmp.type == ICMP_ECHOREPLY;
  key->pad = 0;
  return true;
}

static __always_inline void probe_enqueued(struct sk_buff* skb) {
  struct probe_key key;
  __u64 now;

  if (!is_probe(skb, &key))
    return;
  now = bpf_ktime_get_ns();
  bpf_map_update_elem(&enqueue_times, &key, &now, BPF_ANY);
}

static __noinline void report_packet(struct sk_buff* skb, struct probe_key* key) {
  struct trace_packet* packet = bpf_ringbuf_reserve(&events, sizeof(*packet), 0);
  __u64* enqueued = bpf_map_lookup_elem(&enqueue_times, key);
  struct net_device* device = BPF_CORE_READ(skb, dev);
  struct pt_regs___x86* registers = user_registers((void*)bpf_get_current_task());

  if (!packet) {
    count_lost();
    return;
  }
  packet->kind = TRACE_PACKET;
  packet->cpu = bpf_get_smp_processor_id();
  packet->received_ns = bpf_ktime_get_ns();
  packet->enqueued_ns = 0;
  if (enqueued) {
    packet->enqueued_ns = *enqueued;
    bpf_map_delete_elem(&enqueue_times, key);
  }
  packet->netns_inode = BPF_CORE_READ(device, nd_net.net, ns.inum);
  packet->ifindex = key->ifindex;
  packet->rx_queue = (__s32)BPF_CORE_READ(skb, queue_mapping) - 1; /* skb_get_rx_queue */
  packet->pid = (__u32)bpf_get_current_pid_tgid();
  packet->sequence = key->sequence;
  packet->is_reply = key->is_reply;
  packet->pad = 0;
  packet->syscall_number = registers ? (__s32)BPF_CORE_READ(registers, orig_ax) : -1;
  bpf_get_current_comm(packet->comm, sizeof(packet->comm));
  BPF_CORE_READ_STR_INTO(&packet->device, device, name);
  submit_event(packet);
}

static __always_inline void probe_received(struct sk_buff* skb) {
  struct probe_key key;

  if (is_probe(skb, &key))
    report_packet(skb, &key);
}

#endif
