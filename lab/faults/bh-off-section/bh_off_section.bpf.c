// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Keeps bottom halves off for a set time inside sendto(2): a tc program on the way out of a device, which the kernel runs with
 * bottom halves off and interrupts on (__dev_queue_xmit, net/core/dev.c).
 */
#include "bpf/kernel_types.h"
#include "lab/spin.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TC_ACT_SHOT 2

const volatile __u64 length_ns = 0;
/* Of the culprit's own packets; what else leaves by the device is left alone. */
const volatile __u32 mark = 0;
const volatile __u8 healthy = 0;

/* Written by the program, read by the culprit when its call has returned. */
__u64 started_ns = 0;
__u64 ended_ns = 0;

SEC("tc")
int on_egress(struct __sk_buff* packet) {
  if (packet->mark != mark)
    return TC_ACT_SHOT;
  started_ns = bpf_ktime_get_ns();
  if (!healthy)
    spin_until(started_ns + length_ns);
  ended_ns = bpf_ktime_get_ns();
  return TC_ACT_SHOT;
}
