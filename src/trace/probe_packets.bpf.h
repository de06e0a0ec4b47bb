/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_PROBE_PACKETS_BPF_H
#define STALLSCOPE_TRACE_PROBE_PACKETS_BPF_H

/* Follows the probes' own packets through receive queues: recognises them by their ICMP identifier or the mark of their initial
 * sequence number, and tells when each was put into a queue and when the network stack began with it. A packet of anybody else
 * costs two comparisons, or one short read if it is IPv4 and short; where SYNs are followed, a second if it is short TCP. */

#include "bpf/kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "evidence/syn_mark.h"
#include "trace/events.bpf.h"
#include "trace/task.bpf.h"
#include "trace/wait_record.h"

#define ETH_P_IP 0x0800
#define IPPROTO_ICMP 1
#define ICMP_ECHO 8
#define ICMP_ECHOREPLY 0
#define IPPROTO_TCP 6
/* Flags of a TCP header. */
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
/* A probe has 44 or 56 bytes, IP header included. This leaves room for IP options and for what links and hosts pad. */
#define LONGEST_PROBE_BYTES 256

/* Identifier of our echo requests, network order. */
const volatile __u16 icmp_identifier = 0;
const volatile __u8 watch_echoes = 0;
const volatile __u64 syn_token = 0;
const volatile __u8 watch_syns = 0;

/* When a probe's packet was put into a queue, by the lower bits of its sequence, direction and interface. Bounded: 65,536
 * outstanding packets. */
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

static __always_inline bool is_echo(const unsigned char* data, struct probe_key* key) {
  struct {
    __u8 type;
    __u8 code;
    __u16 checksum;
    __u16 identifier;
    __u16 sequence;
  } icmp;

  if (!watch_echoes || bpf_probe_read_kernel(&icmp, sizeof(icmp), data) || icmp.identifier != icmp_identifier ||
      (icmp.type != ICMP_ECHO && icmp.type != ICMP_ECHOREPLY))
    return false;
  key->sequence = bpf_ntohs(icmp.sequence);
  key->is_reply = icmp.type == ICMP_ECHOREPLY;
  return true;
}

/* A SYN of ours, or the SYN-ACK or reset that acknowledges it (RFC 9293, 3.10.7.1: a reset of a SYN does). */
static __always_inline bool is_syn(const unsigned char* data, struct probe_key* key) {
  struct {
    __u16 from_port;
    __u16 to_port;
    __u32 sequence;
    __u32 acknowledged;
    __u8 header_words;
    __u8 flags;
    __u16 window;
  } tcp;
  __u32 mark;

  if (!watch_syns || bpf_probe_read_kernel(&tcp, sizeof(tcp), data))
    return false;
  switch (tcp.flags & (TCP_SYN | TCP_RST | TCP_ACK)) {
    case TCP_SYN:
      mark = bpf_ntohl(tcp.sequence);
      break;
    case TCP_SYN | TCP_ACK:
    case TCP_RST | TCP_ACK:
      mark = bpf_ntohl(tcp.acknowledged) - 1;
      break;
    default:
      return false;
  }
  if (mark != syn_mark(syn_token, mark))
    return false;
  key->sequence = (__u16)mark;
  key->is_reply = (tcp.flags & TCP_ACK) != 0;
  return true;
}

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
  unsigned char* data;

  if (!(watch_echoes || watch_syns) || skb->len > LONGEST_PROBE_BYTES || skb->protocol != bpf_htons(ETH_P_IP))
    return false;
  data = skb->data;
  if (bpf_probe_read_kernel(&ip, sizeof(ip), data) || (ip.fragment & bpf_htons(0x1fff)))
    return false;
  data += (ip.version_and_words & 0xf) * 4;
  if (!(ip.protocol == IPPROTO_ICMP && is_echo(data, key)) && !(ip.protocol == IPPROTO_TCP && is_syn(data, key)))
    return false;
  key->ifindex = skb->dev->ifindex;
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
