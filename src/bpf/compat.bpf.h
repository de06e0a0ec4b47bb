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

/* The CPU in whose run queue `task` is. */
static __always_inline __u32 compat_task_cpu(struct task_struct* task) {
  struct task_struct___thread_info* with_info = (void*)task;
  struct task_struct___cpu* with_cpu = (void*)task;

  if (bpf_core_field_exists(with_info->thread_info.cpu))
    return BPF_CORE_READ(with_info, thread_info.cpu);
  if (bpf_core_field_exists(with_cpu->cpu))
    return BPF_CORE_READ(with_cpu, cpu);
  return bpf_get_smp_processor_id();
}

/* The registers with which `task`, the current one, came from user space. bpf_task_pt_regs (Linux 5.15, commit dd6e10fbd9fb)
 * knows where they lie: at the end of the task's stack, whose size depends on the configuration (KASAN doubles it), less a padding
 * of 16 bytes with CONFIG_X86_FRED (6.9, commit 65c9cc9e2c14). Kernels without it have 16 KiB and no padding on x86_64. */
#define COMPAT_USER_CS 0x33 /* __USER_CS, arch/x86/include/asm/segment.h: a task in 64-bit mode */
#define COMPAT_STACK_BYTES 16384
static __always_inline struct pt_regs___x86* compat_user_registers(struct task_struct* task) {
  if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
    return (void*)bpf_task_pt_regs(bpf_get_current_task_btf());
  return BPF_CORE_READ(task, stack) + COMPAT_STACK_BYTES - bpf_core_type_size(struct pt_regs___x86);
}

/* The preempt count of the CPU that `current` runs on (include/linux/preempt.h), or COMPAT_PREEMPT_UNKNOWN. Its address is in the
 * symbol table only with CONFIG_KALLSYMS_ALL, but kernel BTF has the place of every per-CPU variable: user space sets how far it
 * lies from the run queue, which is reached from any task; 0 where that is not known. */
#define COMPAT_PREEMPT_UNKNOWN (-1)
const volatile __s64 preempt_count_from_rq_bytes = 0;
static __always_inline int compat_preempt_count(struct task_struct* current) {
  int count = 0;
  void* rq;

  if (!preempt_count_from_rq_bytes || !bpf_core_field_exists(((struct cfs_rq*)0)->rq))
    return COMPAT_PREEMPT_UNKNOWN;
  rq = BPF_CORE_READ(current, se.cfs_rq, rq);
  if (!rq || bpf_probe_read_kernel(&count, sizeof(count), rq + preempt_count_from_rq_bytes))
    return COMPAT_PREEMPT_UNKNOWN;
  return count & 0x7fffffff; /* the top bit is PREEMPT_NEED_RESCHED */
}

/* What the hypervisor has taken from the CPU that `current` runs on, as far as the scheduler's clock has counted, and that clock:
 * once it has moved past a moment, the count includes all that was stolen before. Both are 0 without
 * CONFIG_PARAVIRT_TIME_ACCOUNTING. kernel_cpustat would say the same, but its address is known only with CONFIG_KALLSYMS_ALL; the
 * run queue is reached from any task. See update_rq_clock_task in kernel/sched/core.c. */
struct compat_steal {
  __u64 stolen_ns;
  __u64 clock_ns;
};
static __always_inline struct compat_steal compat_steal(struct task_struct* current) {
  struct compat_steal steal = {};
  struct rq* rq;

  if (bpf_core_field_exists(((struct cfs_rq*)0)->rq) && bpf_core_field_exists(((struct rq*)0)->prev_steal_time_rq)) {
    rq = BPF_CORE_READ(current, se.cfs_rq, rq);
    steal.stolen_ns = BPF_CORE_READ(rq, prev_steal_time_rq);
    steal.clock_ns = BPF_CORE_READ(rq, clock);
  }
  return steal;
}

/* The only element of a per-CPU array as `cpu` has it; NULL before Linux 5.19 (commit 07343110b293). */
static __always_inline void* compat_of_cpu(void* map, __u32 cpu) {
  __u32 zero = 0;

  if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_map_lookup_percpu_elem))
    return NULL;
  return bpf_map_lookup_percpu_elem(map, &zero, cpu);
}

#endif
