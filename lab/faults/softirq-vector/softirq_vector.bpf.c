// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Keeps the softirq vector HRTIMER busy for a set time: the callback of a BPF timer (Linux 5.15), which expires there
 * (HRTIMER_MODE_REL_SOFT, kernel/bpf/helpers.c), with interrupts on.
 */
#include "bpf/kernel_types.h"
#include "lab/spin.bpf.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define CLOCK_MONOTONIC 1

const volatile __u64 length_ns = 0;
const volatile __u64 delay_ns = 0;
const volatile __u8 healthy = 0;

/* Written by the callback; `runs` last. */
__u64 started_ns = 0;
__u64 ended_ns = 0;
__u32 interrupted_pid = 0;
__u32 cpu = 0;
char interrupted_comm[16] = {};
__u64 runs = 0;

struct held_timer {
  struct bpf_timer timer;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct held_timer);
} timers SEC(".maps");

static int on_expiry(void* map, __u32* key, struct held_timer* held) {
  __u32 tgid = bpf_get_current_pid_tgid() >> 32;

  /* Nobody could see the stall where a kernel runs no program in the context of process 1 (docs/known-limits.md). */
  if (tgid == 1) {
    bpf_timer_start(&held->timer, delay_ns, 0);
    return 0;
  }
  cpu = bpf_get_smp_processor_id();
  started_ns = bpf_ktime_get_ns();
  interrupted_pid = tgid;
  bpf_get_current_comm(interrupted_comm, sizeof(interrupted_comm));
  if (!healthy)
    spin_until(started_ns + length_ns);
  ended_ns = bpf_ktime_get_ns();
  __sync_fetch_and_add(&runs, 1);
  return 0;
}

/* Run by the culprit on the CPU to hold up: the timer expires where it was started. */
SEC("syscall")
int start_timer(void* context) {
  __u32 key = 0;
  struct held_timer* held = bpf_map_lookup_elem(&timers, &key);

  if (!held)
    return 1;
  /* -EBUSY where it has been before. */
  bpf_timer_init(&held->timer, &timers, CLOCK_MONOTONIC);
  if (bpf_timer_set_callback(&held->timer, on_expiry) != 0)
    return 1;
  return bpf_timer_start(&held->timer, delay_ns, 0) == 0 ? 0 : 1;
}
