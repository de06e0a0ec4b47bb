// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * A system call that is not preempted, and a softirq within it that ends with the waking of ksoftirqd: __do_softirq
 * (kernel/softirq.c) leaves to it what is pending again once a jiffy has passed.
 */
#include "bpf/kernel_types.h"
#include "lab/spin.bpf.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define CLOCK_MONOTONIC 1

const volatile __u64 length_ns = 0;
/* After which ksoftirqd counts as not woken. */
const volatile __u64 patience_ns = 0;
const volatile __s32 ksoftirqd_pid = 0;
const volatile __u8 healthy = 0;

/* Written by the programs, read by the culprit when its call has returned. No wake-up: 0. */
__u64 woken_ns = 0;
__u64 ended_ns = 0;

struct held_timer {
  struct bpf_timer timer;
  __u8 restarted;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct held_timer);
} timers SEC(".maps");

struct jiffy {
  __u64 first;
};

static long jiffy_step(__u32 index, struct jiffy* jiffy) {
  return bpf_jiffies64() != jiffy->first;
}

/* In the softirq of high-resolution timers, with interrupts on: its own timer expires again while it runs, and raises the vector.
 */
static int on_expiry(void* map, __u32* key, struct held_timer* held) {
  struct jiffy jiffy = {.first = bpf_jiffies64()};

  if (held->restarted)
    return 0;
  held->restarted = 1;
  bpf_timer_start(&held->timer, 0, 0);
  bpf_loop(1 << 23, jiffy_step, &jiffy, 0);
  return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct* task) {
  if (task->pid == ksoftirqd_pid && woken_ns == 0)
    woken_ns = bpf_ktime_get_ns();
  return 0;
}

static long wait_step(__u32 index, struct spin* spin) {
  spin->done = *(volatile __u64*)&woken_ns != 0 || bpf_ktime_get_ns() >= spin->end_ns;
  return spin->done;
}

/* bpf(BPF_PROG_TEST_RUN), by the culprit on the CPU to hold up: interrupts and bottom halves are on. */
SEC("syscall")
int starve(void* context) {
  struct spin spin = {.end_ns = bpf_ktime_get_ns() + patience_ns};
  __u32 key = 0;
  struct held_timer* held = bpf_map_lookup_elem(&timers, &key);

  woken_ns = 0;
  if (!held)
    return 1;
  /* -EBUSY where it has been before. */
  bpf_timer_init(&held->timer, &timers, CLOCK_MONOTONIC);
  held->restarted = healthy;
  if (bpf_timer_set_callback(&held->timer, on_expiry) != 0 || bpf_timer_start(&held->timer, 0, 0) != 0)
    return 1;
  if (!healthy)
    bpf_loop(1 << 23, wait_step, &spin, 0);
  if (woken_ns != 0)
    spin_until(woken_ns + length_ns);
  ended_ns = bpf_ktime_get_ns();
  return 0;
}
