// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * A long system call without a point at which another task is let in, and what makes a veth device have NAPI at all: XDP.
 */
#include "bpf/kernel_types.h"
#include "lab/spin.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u64 length_ns = 0;

/* Written by the program, read by the culprit when its call has returned, which may be long after. */
__u64 started_ns = 0;
__u64 ended_ns = 0;

SEC("xdp")
int pass(struct xdp_md* packet) {
  return XDP_PASS;
}

/* bpf(BPF_PROG_TEST_RUN): in the context of the caller, interrupts and bottom halves on. */
SEC("syscall")
int hold(void* context) {
  started_ns = bpf_ktime_get_ns();
  spin_until(started_ns + length_ns);
  ended_ns = bpf_ktime_get_ns();
  return 0;
}
