// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Keeps hard interrupts off for a set time inside a system call of one process.
 *
 * Needs the functions bpf_local_irq_save and bpf_local_irq_restore (Linux 6.14). The tracepoint runs in the process's own context
 * with interrupts on, once the call's registers are in place, so that the call is there to be seen.
 */
#include "bpf/kernel_types.h"
#include "lab/spin.bpf.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

extern void bpf_local_irq_save(unsigned long* flags) __ksym;
extern void bpf_local_irq_restore(unsigned long* flags) __ksym;

const volatile __u32 culprit_tgid = 0;
const volatile __u64 length_ns = 0;
const volatile __s64 syscall_number = 0;
const volatile __u8 healthy = 0;

/* Written by the program, read by the culprit when its call has returned. */
__u64 started_ns = 0;
__u64 ended_ns = 0;

SEC("tp_btf/sys_enter")
int BPF_PROG(on_sys_enter, struct pt_regs* registers, long number) {
  unsigned long flags;

  if (number != syscall_number || bpf_get_current_pid_tgid() >> 32 != culprit_tgid)
    return 0;
  if (healthy) {
    started_ns = bpf_ktime_get_ns();
    ended_ns = bpf_ktime_get_ns();
    return 0;
  }
  bpf_local_irq_save(&flags);
  started_ns = bpf_ktime_get_ns();
  spin_until(started_ns + length_ns);
  ended_ns = bpf_ktime_get_ns();
  bpf_local_irq_restore(&flags);
  return 0;
}
