// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * A tc program on the way in that takes a set time over a packet, inside NET_RX.
 */
#include "bpf/kernel_types.h"
#include "lab/slow_receive.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TC_ACT_OK 0

SEC("tc")
int lab_slow_tc(struct __sk_buff* packet) {
  take_long_over((void*)(long)packet->data, (void*)(long)packet->data_end);
  return TC_ACT_OK;
}
