/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_EVENTS_BPF_H
#define STALLSCOPE_TRACE_EVENTS_BPF_H

/* The way to user space: one ring buffer for records of all kinds, and the count of those that found it full. */

#include "bpf/kernel_types.h"

#include <bpf/bpf_helpers.h>

#include "trace/wait_record.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4 << 20); /* user space may resize it */
} events SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, TRACE_COUNTER_COUNT);
  __type(key, __u32);
  __type(value, __u64);
} counters SEC(".maps");

static __always_inline void count_lost(void) {
  __u32 key = TRACE_COUNTER_LOST;
  __u64* count = bpf_map_lookup_elem(&counters, &key);

  if (count)
    (*count)++;
}

#endif
