/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_BPF_COMPAT_BPF_H
#define STALLSCOPE_BPF_COMPAT_BPF_H

/* What differs between kernels, in one place: each function works on every kernel it is loaded on and says what it does where
 * the kernel has nothing to read. */

#include "bpf/kernel_types.h"  // first: libbpf's headers use its types

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

static __always_inline struct kernfs_node* compat_kernfs_parent(struct kernfs_node* node) {
  struct kernfs_node___rcu_parent* rcu = (void*)node;

  if (bpf_core_field_exists(rcu->__parent))
    return BPF_CORE_READ(rcu, __parent);
  return BPF_CORE_READ(node, parent);
}

/* The cgroup that names a task: its memory cgroup where that controller has a hierarchy of its own (v1), else the one in the
 * unified hierarchy (whose hierarchy id is 0). NULL without cgroups. */
static __always_inline struct cgroup* compat_task_cgroup(struct task_struct* task) {
  struct css_set* set = BPF_CORE_READ(task, cgroups);
  struct cgroup_subsys_state* css = NULL;
  struct cgroup* memory;

  if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id)) {
    __u64 index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);

    bpf_probe_read_kernel(&css, sizeof(css), (void*)set + bpf_core_field_offset(struct css_set, subsys) + index * sizeof(void*));
  }
  memory = BPF_CORE_READ(css, cgroup);
  if (memory && BPF_CORE_READ(memory, root, hierarchy_id) != 0)
    return memory;
  return BPF_CORE_READ(set, dfl_cgrp);
}

/* Steal time accounted so far to the CPU that `current` runs on, or COMPAT_STEAL_UNKNOWN. The per-CPU kernel_cpustat would say
 * the same, but its address is known only with CONFIG_KALLSYMS_ALL; the run queue is reached from any task. The kernel updates it
 * on timer ticks (kernel/sched/cputime.c, steal_account_process_time). */
#define COMPAT_STEAL_UNKNOWN (~0ULL)
static __always_inline __u64 compat_steal_ns(struct task_struct* current) {
  if (!bpf_core_field_exists(((struct cfs_rq*)0)->rq) || !bpf_core_field_exists(((struct rq*)0)->prev_steal_time))
    return COMPAT_STEAL_UNKNOWN;
  return BPF_CORE_READ(current, se.cfs_rq, rq, prev_steal_time);
}

#endif
