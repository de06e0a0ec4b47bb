/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_LAB_SPIN_BPF_H
#define STALLSCOPE_LAB_SPIN_BPF_H

/* Holding a CPU from within a BPF program for a time that is set. */

#include "bpf/kernel_types.h"

#include <bpf/bpf_helpers.h>

struct spin {
  __u64 end_ns;
  __u32 done;
  __u32 pad;
};

static long spin_step(__u32 index, struct spin* spin) {
  spin->done = bpf_ktime_get_ns() >= spin->end_ns;
  return spin->done;
}

/* Returns at `end_ns` of the clock of bpf_ktime_get_ns. bpf_loop (Linux 5.17) ends after 2^23 steps, which may be less than 0.2 s.
 */
static __always_inline void spin_until(__u64 end_ns) {
  struct spin spin = {.end_ns = end_ns};
  int round;

  for (round = 0; round < 16 && !spin.done; round++)
    bpf_loop(1 << 23, spin_step, &spin, 0);
}

#endif
