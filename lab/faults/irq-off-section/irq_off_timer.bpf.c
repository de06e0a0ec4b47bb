// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Keeps hard interrupts off for a set time inside timerfd_settime(2) of one process, on kernels that do not let BPF switch them off
 * itself: the tracepoint hrtimer_start is inside the section in which a timer's base is locked (enqueue_hrtimer,
 * kernel/time/hrtimer.c).
 */
#include "bpf/kernel_types.h"
#include "lab/spin.bpf.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 culprit_tgid = 0;
const volatile __u64 length_ns = 0;
/* When the culprit's timer is to expire: what else starts timers meanwhile is left alone, the tick on the culprit's back included.
 */
const volatile __s64 expires_ns = 0;
const volatile __u8 healthy = 0;

/* Written by the program, read by the culprit when its call has returned. */
__u64 started_ns = 0;
__u64 ended_ns = 0;

SEC("tp_btf/hrtimer_start")
int BPF_PROG(on_hrtimer_start, struct hrtimer* timer) {
  if (bpf_get_current_pid_tgid() >> 32 != culprit_tgid || timer->node.expires != expires_ns)
    return 0;
  started_ns = bpf_ktime_get_ns();
  if (!healthy)
    spin_until(started_ns + length_ns);
  ended_ns = bpf_ktime_get_ns();
  return 0;
}
