/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_WAIT_RECORD_H
#define STALLSCOPE_TRACE_WAIT_RECORD_H

/* The only definition of what wait.bpf.c sends to user space. Plain C for both sides; every record begins with its kind. Times are
 * bpf_ktime_get_ns (CLOCK_MONOTONIC). */

#ifdef __cplusplus
#include <linux/types.h>
#endif

/* C, so that clang can compile it for BPF: C++'s checks do not apply. NOLINTBEGIN */

#define TRACE_COMM_BYTES 16
#define TRACE_DEVICE_BYTES 16
#define TRACE_STACK_FRAMES 64
/* A path travels as its names, innermost first, each ended by NUL: a name starts below TRACE_PATH_LIMIT and is cut to
 * TRACE_NAME_BYTES. 12 levels of Kubernetes' longest names fit. */
#define TRACE_NAME_BYTES 256
#define TRACE_PATH_LIMIT 1024
#define TRACE_PATH_BYTES (TRACE_PATH_LIMIT + TRACE_NAME_BYTES)

enum trace_kind {
  TRACE_IRQS_OFF = 1,
  TRACE_SOFTIRQ_LATE = 2,
  TRACE_NET_RX_LONG = 3,
  TRACE_THREAD_LATE = 4,
  TRACE_SAMPLE = 5,
  TRACE_RELEASE = 6,
  TRACE_STEAL = 7,
  TRACE_FLUSH = 8,
  TRACE_PACKET = 9,
  TRACE_BUDGET = 10,
  TRACE_GLIMPSE = 11,
};

/* `vector` of TRACE_THREAD_LATE: no vector held it up, so it says which thread waited. */
enum trace_thread {
  TRACE_THREAD_OTHER = 0,
  TRACE_THREAD_KSOFTIRQD = 1,
  TRACE_THREAD_NAPI = 2,
};

enum trace_task_flag {
  TRACE_TASK_KERNEL_THREAD = 1,
  /* In a system call, or at least entered by one: the stack tells. */
  TRACE_TASK_HAS_REGISTERS = 2,
  /* There are no registers: whether and in which system call, only the stack can tell. */
  TRACE_TASK_CALL_BY_STACK = 4,
  /* Found in user space, with nothing of the kernel on its stack. */
  TRACE_TASK_IN_USER_SPACE = 8,
  TRACE_TASK_CGROUP_UNKNOWN = 16,
  /* So far gone that it has no pid any more: 0 does not mean the idle task. */
  TRACE_TASK_EXITING = 32,
};

/* A task as it was when the record was made. */
struct trace_task {
  __s32 pid; /* thread id; 0 is the idle task */
  __s32 tgid;
  __u32 flags; /* enum trace_task_flag */
  __s32 syscall_number;
  __u64 syscall_arguments[6];
  __u32 cgroup_bytes;
  __u32 file_bytes;
  __s32 stack_bytes; /* negative: the errno of bpf_get_stack */
  __u32 pad;
  char comm[TRACE_COMM_BYTES];
  __u64 stack[TRACE_STACK_FRAMES]; /* innermost first */
  char cgroup[TRACE_PATH_BYTES];
  char file[TRACE_PATH_BYTES];
};

/* TRACE_IRQS_OFF, TRACE_SOFTIRQ_LATE, TRACE_NET_RX_LONG, TRACE_THREAD_LATE, TRACE_BUDGET. */
struct trace_wait {
  __u32 kind;
  __u32 cpu;
  __u64 number; /* of this CPU: what a later release or steal refers to */
  __u64 earliest_start_ns;
  __u64 latest_start_ns;
  __u64 end_ns;
  /* TRACE_SOFTIRQ_LATE: another vector that ran meanwhile, and for how long in all; -1 for none. */
  __s32 vector;
  __u32 pad;
  __u64 vector_ns;
  struct trace_task task;
};

/* TRACE_SAMPLE: who had the CPU while something waited; by the CPU clock, by NMI, or at the end of another vector in which neither
 * came. */
struct trace_sample {
  __u32 kind;
  __u32 cpu;
  __u64 time_ns;
  __s32 preempt_count; /* of what the sample interrupted, and the interrupt itself; negative: not known */
  __u32 from_nmi;      /* taken although hard IRQs were off */
  struct trace_task task;
};

/* TRACE_GLIMPSE: what another CPU saw on the stack of one that served no interrupts. */
#define TRACE_GLIMPSE_ADDRESSES 64
struct trace_glimpse {
  __u32 kind;
  __u32 cpu; /* the silent one */
  __u64 time_ns;
  __s32 pid;
  __u32 address_count;
  char comm[TRACE_COMM_BYTES];
  __u64 addresses[TRACE_GLIMPSE_ADDRESSES]; /* outermost first; not all need be of calls still under way */
};

/* TRACE_RELEASE: the first NET_RX run after a wait delivered this many packets. */
struct trace_release {
  __u32 kind;
  __u32 cpu;
  __u64 number;
  __u64 packet_count;
};

/* TRACE_STEAL: how much steal time the kernel has accounted to the CPU from shortly before the wait to its next tick. */
struct trace_steal {
  __u32 kind;
  __u32 cpu;
  __u64 number;
  __u64 stolen_ns;
};

/* TRACE_FLUSH: the cgroup rstat lock was held. */
struct trace_flush {
  __u32 kind;
  __u32 cpu;
  __u64 start_ns;
  __u64 end_ns;
  __s32 pid;
  __s32 tgid;
  char comm[TRACE_COMM_BYTES];
  __u32 cgroup_bytes;
  __u32 pad;
  char cgroup[TRACE_PATH_BYTES];
};

/* TRACE_PACKET: a probe's packet entered the network stack. */
struct trace_packet {
  __u32 kind;
  __u32 cpu;
  __u64 enqueued_ns; /* 0: not seen */
  __u64 received_ns;
  __u32 netns_inode;
  __s32 ifindex;
  __s32 rx_queue; /* -1: not recorded */
  __s32 pid;
  __s32 syscall_number; /* of the task whose context it was served in; -1: none, or not told */
  __u16 sequence;       /* host order */
  __u8 is_reply;
  __u8 pad;
  char comm[TRACE_COMM_BYTES];
  char device[TRACE_DEVICE_BYTES];
};

/* Cut short in the kernel: how many records of all kinds found the ring buffer full. */
enum trace_counter {
  TRACE_COUNTER_LOST = 0,
  TRACE_COUNTER_COUNT = 1,
};

#ifdef __cplusplus
/* What clang lays out for BPF must be what the host's compiler expects. */
static_assert(sizeof(struct trace_task) == 96 + (8 * TRACE_STACK_FRAMES) + (2 * TRACE_PATH_BYTES));
static_assert(sizeof(struct trace_wait) == 56 + sizeof(struct trace_task));
static_assert(sizeof(struct trace_sample) == 24 + sizeof(struct trace_task));
static_assert(sizeof(struct trace_glimpse) == 40 + (8 * TRACE_GLIMPSE_ADDRESSES));
static_assert(sizeof(struct trace_release) == 24);
static_assert(sizeof(struct trace_steal) == 24);
static_assert(sizeof(struct trace_flush) == 56 + TRACE_PATH_BYTES);
static_assert(sizeof(struct trace_packet) == 80);
#endif

/* NOLINTEND */

#endif
