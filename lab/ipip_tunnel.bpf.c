// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * An IPIP tunnel (RFC 2003) for kernels without the ipip module: what leaves by the tunnel's device is wrapped into another IPv4
 * header and sent to the other end by a real device; what comes from there is unwrapped on its way in.
 */
#include "bpf/kernel_types.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define IP_IN_IP 4
#define OUTER_TTL 64

/* Of this end and of the other, in network order, and the device between them. */
const volatile __u32 local_address = 0;
const volatile __u32 remote_address = 0;
const volatile __u32 carrier_ifindex = 0;

static __always_inline __u16 header_checksum(const struct iphdr* header) {
  const __u16* words = (const __u16*)header;
  __u32 sum = 0;

  for (int i = 0; i < (int)(sizeof(*header) / sizeof(*words)); ++i)
    sum += words[i];
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

SEC("tc")
int lab_ipip_wrap(struct __sk_buff* packet) {
  void* data = (void*)(long)packet->data;
  void* end = (void*)(long)packet->data_end;
  struct iphdr* inner = data + ETH_HLEN;
  struct iphdr outer = {};

  if ((void*)(inner + 1) > end || packet->protocol != bpf_htons(ETH_P_IP))
    return TC_ACT_SHOT;
  outer.version = 4;
  outer.ihl = sizeof(outer) / 4;
  outer.ttl = OUTER_TTL;
  outer.protocol = IP_IN_IP;
  outer.tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + sizeof(outer));
  outer.saddr = local_address;
  outer.daddr = remote_address;
  outer.check = header_checksum(&outer);
  if (bpf_skb_adjust_room(packet, sizeof(outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) != 0)
    return TC_ACT_SHOT;
  if (bpf_skb_store_bytes(packet, ETH_HLEN, &outer, sizeof(outer), 0) != 0)
    return TC_ACT_SHOT;
  /* The neighbour's address is looked up by the outer header. */
  return bpf_redirect_neigh(carrier_ifindex, NULL, 0, 0);
}

SEC("tc")
int lab_ipip_unwrap(struct __sk_buff* packet) {
  void* data = (void*)(long)packet->data;
  void* end = (void*)(long)packet->data_end;
  struct iphdr* outer = data + ETH_HLEN;

  if ((void*)(outer + 1) > end || packet->protocol != bpf_htons(ETH_P_IP) || outer->protocol != IP_IN_IP ||
      outer->saddr != remote_address)
    return TC_ACT_OK;
  return bpf_skb_adjust_room(packet, -(int)sizeof(*outer), BPF_ADJ_ROOM_MAC, 0) == 0 ? TC_ACT_OK : TC_ACT_SHOT;
}
