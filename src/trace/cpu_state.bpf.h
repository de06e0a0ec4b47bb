/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_CPU_STATE_BPF_H
#define STALLSCOPE_TRACE_CPU_STATE_BPF_H

/* What the programs remember of each CPU between two hooks. Written by its own CPU, but for what another notes of its look. */

#include "bpf/kernel_types.h"

#include <bpf/bpf_helpers.h>

/* Waits shorter than this leave no record. */
const volatile __u64 threshold_ns = 1000000;
const volatile __u64 sample_period_ns = 1000000;
/* A CPU whose clock has not been heard of for so many periods serves no interrupts. */
#define SILENT_PERIODS 2

struct cpu_state {
  /* Last sign that this CPU served interrupts or switched tasks. */
  __u64 alive_ns;
  /* The task that it switched to last, 0 before the first switch; for other CPUs to look at. */
  __u64 running;
  /* When this CPU looks at another next, and how far away that was last time. */
  __u64 next_look_ns;
  __u32 look_distance;
  __u32 pad_look;
  /* When another may look at this one again, of the silence that began at glimpsed_alive_ns. */
  __u64 glimpsed_alive_ns;
  __u64 next_glimpse_ns;
  /* Oldest NET_RX raise not yet served, 0 for none. */
  __u64 rx_raised_ns;
  __u64 rx_entered_ns;
  __u64 rx_packets;
  /* What its NAPI polls have processed, and whether one of them had to leave off with more to do. */
  __u64 rx_work;
  __u64 rx_left_off;
  /* Start of the first of NET_RX runs in a row that ended with more to do, 0 for none. */
  __u64 squeezed_since_ns;
  __u64 squeezed_packets;
  /* Another vector running since, 0 for none; and the one that ran longest since the raise. */
  __u64 vector_entered_ns;
  __u64 longest_vector_ns;
  __s32 longest_vector;
  __u32 pad;
  /* When who has the CPU was last reported. */
  __u64 sampled_ns;
  /* This CPU's ksoftirqd became runnable then, 0 when it is not waiting. */
  __u64 ksoftirqd_woken_ns;
  /* Taken from the flush hooks. */
  __u64 flush_locked_ns;
  /* The last wait, until its release and its steal time are known. */
  __u64 wait_number;
  __u64 release_number;
  __u64 release_until_ns;
  __u64 steal_number; /* 0: nothing to report */
  __u64 steal_before_ns;
  __u64 steal_clock_ns;
  /* What had been stolen when a sample last found nothing waiting, 0 before the first. */
  __u64 steal_quiet_ns;
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct cpu_state);
} cpu_states SEC(".maps");

static __always_inline struct cpu_state* this_cpu(void) {
  __u32 zero = 0;

  return bpf_map_lookup_elem(&cpu_states, &zero);
}

#endif
