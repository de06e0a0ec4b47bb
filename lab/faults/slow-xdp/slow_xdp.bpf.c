// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * An XDP program that takes a set time over a packet, inside NET_RX.
 */
#include "bpf/kernel_types.h"
#include "lab/slow_receive.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("xdp")
int lab_slow_xdp(struct xdp_md* packet) {
  take_long_over((void*)(long)packet->data, (void*)(long)packet->data_end);
  return XDP_PASS;
}
