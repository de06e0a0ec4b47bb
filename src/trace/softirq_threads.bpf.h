/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_SOFTIRQ_THREADS_BPF_H
#define STALLSCOPE_TRACE_SOFTIRQ_THREADS_BPF_H

/* The threads that receive packets, and since when those of NAPI have been waiting for a CPU. */

#include "bpf/compat.bpf.h"
#include "bpf/kernel_types.h"
#include "trace/task.bpf.h"
#include "trace/thread_name.h"

struct napi_wait {
  __u64 since_ns;
  __u32 cpu;
  __u32 pad;
};

/* NAPI threads that want to run and do not, by thread id: since when, and on which CPU. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, __u32);
  __type(value, struct napi_wait);
} napi_waits SEC(".maps");

/* Since when one of them waits for a CPU, 0 for none; by CPU (NR_CPUS is at most 8,192). It only decides whether samples are kept.
 */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8192);
  __type(key, __u32);
  __type(value, __u64);
} napi_waiting SEC(".maps");

static __always_inline enum trace_thread softirq_thread(struct task_struct* task) {
  return task->flags & PF_KTHREAD ? trace_thread_of_name(*(__u64*)task->comm) : TRACE_THREAD_OTHER;
}

static __always_inline void set_napi_waiting(__u32 cpu, __u64 since_ns) {
  __u64* waiting = bpf_map_lookup_elem(&napi_waiting, &cpu);

  if (waiting)
    *waiting = since_ns;
}

static __always_inline void napi_thread_waits(struct task_struct* task, __u32 cpu, __u64 now) {
  struct napi_wait wait = {.since_ns = now, .cpu = cpu};
  __u32 pid = task->pid;

  if (bpf_map_update_elem(&napi_waits, &pid, &wait, BPF_NOEXIST) == 0)
    set_napi_waiting(cpu, now);
}

/* Since when it had been waiting, 0 for not at all. */
static __always_inline __u64 napi_thread_runs(struct task_struct* task) {
  __u32 pid = task->pid;
  struct napi_wait* waited = bpf_map_lookup_elem(&napi_waits, &pid);
  __u64 since_ns;

  if (!waited)
    return 0;
  since_ns = waited->since_ns;
  set_napi_waiting(waited->cpu, 0);
  bpf_map_delete_elem(&napi_waits, &pid);
  return since_ns;
}

static __always_inline __u64 napi_waiting_since(__u32 cpu) {
  __u64* since_ns = bpf_map_lookup_elem(&napi_waiting, &cpu);

  return since_ns ? *since_ns : 0;
}

#endif
