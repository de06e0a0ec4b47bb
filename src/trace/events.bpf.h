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

/* Hands a record over. User space looks into the buffer several times a second, so waking it for each record would only cost: an
 * interrupt to this CPU and a switch to another task, on a machine that has just been kept from its work. It is woken early when
 * the buffer fills. */
#define WAKE_AT_PART_OF_BUFFER 4
static __always_inline void submit_event(void* record) {
  __u64 waiting_bytes = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
  __u64 buffer_bytes = bpf_ringbuf_query(&events, BPF_RB_RING_SIZE);

  bpf_ringbuf_submit(record, waiting_bytes < buffer_bytes / WAKE_AT_PART_OF_BUFFER ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
}

#endif
