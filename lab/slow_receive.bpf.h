/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_LAB_SLOW_RECEIVE_BPF_H
#define STALLSCOPE_LAB_SLOW_RECEIVE_BPF_H

/* For programs that take long over a packet on its way in. */

#include "lab/spin.bpf.h"

const volatile __u64 length_ns = 0;
const volatile __u8 healthy = 0;

/* Written by the program, read by the culprit when its packet has arrived. */
__u64 started_ns = 0;
__u64 ended_ns = 0;

/* UDP over IPv4 to port 9: lab/packet_path.h. What the kernel sends of its own accord is left alone. */
static __always_inline bool is_own_packet(void* data, void* end) {
  const __u8* byte = data;

  if (data + 42 > end)
    return false;
  return byte[12] == 0x08 && byte[13] == 0x00 && byte[23] == 17 && byte[36] == 0 && byte[37] == 9;
}

static __always_inline void take_long_over(void* data, void* end) {
  if (!is_own_packet(data, end))
    return;
  started_ns = bpf_ktime_get_ns();
  if (!healthy)
    spin_until(started_ns + length_ns);
  ended_ns = bpf_ktime_get_ns();
}

#endif
