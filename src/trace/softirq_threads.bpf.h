/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_SOFTIRQ_THREADS_BPF_H
#define STALLSCOPE_TRACE_SOFTIRQ_THREADS_BPF_H

/* The kernel threads that receive: which a task is, and which NAPI threads wait for a CPU. */

#include "trace/task.bpf.h"

enum softirq_thread { NOT_A_SOFTIRQ_THREAD, KSOFTIRQD, NAPI_THREAD };

/* ksoftirqd/CPU (kernel/softirq.c) and napi/DEVICE-ID (net/core/dev.c, Linux 5.12, commit 29863d41bb6e). */
static __always_inline enum softirq_thread softirq_thread(struct task_struct* task) {
  __u64 name;

  if (!(task->flags & PF_KTHREAD))
    return NOT_A_SOFTIRQ_THREAD;
  name = *(__u64*)task->comm;
  if (name == 0x7172697466736f6bULL) /* "ksoftirq" */
    return KSOFTIRQD;
  if ((name & 0xffffffffffULL) == 0x2f6970616eULL) /* "napi/" */
    return NAPI_THREAD;
  return NOT_A_SOFTIRQ_THREAD;
}

struct napi_wakeup {
  __u64 woken_ns;
  __u32 cpu;
  __u32 pad;
};

/* When and where a NAPI thread became runnable, by thread id. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, __u32);
  __type(value, struct napi_wakeup);
} napi_woken SEC(".maps");

/* Since when a NAPI thread has been runnable on a CPU, 0 for none; by CPU, because another CPU may have woken it. It only decides
 * whether samples are kept: where there are more CPUs, or several threads wait for one, holders are seen for less of the time. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, __u64);
} napi_waiting SEC(".maps");

static __always_inline void set_napi_waiting(__u32 cpu, __u64 since_ns) {
  __u64* waiting = bpf_map_lookup_elem(&napi_waiting, &cpu);

  if (waiting)
    *waiting = since_ns;
}

static __always_inline __u64 napi_waiting_since(void) {
  __u32 cpu = bpf_get_smp_processor_id();
  __u64* waiting = bpf_map_lookup_elem(&napi_waiting, &cpu);

  return waiting ? *waiting : 0;
}

#endif
