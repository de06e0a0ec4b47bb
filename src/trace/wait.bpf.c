// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * Why received packets wait, per CPU.
 *
 * Needs Linux 5.8 (ring buffer, tp_btf) and kernel BTF. Every program is optional: user space loads those whose hook exists and
 * records what the absence of the others hides.
 *
 * Why these hooks. softirq_raise -> softirq_entry alone is blind to interrupts being off, since the raising interrupt is itself
 * late. A high-resolution timer that expires late shows that, and the first interrupt after the stretch runs on the culprit's
 * stack. The perf CPU clock is the timer that is always there: without it an idle or tickless CPU has none.
 *
 * Cost. Each hook is one per-CPU lookup and at most one clock read in the common case. The clock is most of it, so it is read only
 * where the time is needed. Names, paths and stacks are read only after a wait has exceeded the threshold. docs/benchmarks.md has
 * the figures.
 */
#include "bpf/compat.bpf.h"
#include "bpf/kernel_types.h"
#include "trace/cpu_state.bpf.h"
#include "trace/events.bpf.h"
#include "trace/other_cpu.bpf.h"
#include "trace/probe_packets.bpf.h"
#include "trace/softirq_threads.bpf.h"
#include "trace/task.bpf.h"
#include "trace/wait_record.h"

#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define NET_RX_SOFTIRQ 3
/* net.core.netdev_budget and netdev_budget_usecs: where one NET_RX run ends although there is more. */
const volatile __u64 budget_packets = 300;
const volatile __u64 budget_ns = 2000000;
/* After a wait, a NET_RX run that begins within this time is the one that releases what had waited. */
#define RELEASE_WINDOW_NS 1000000

static __always_inline struct trace_wait* begin_wait(struct cpu_state* state, __u32 kind) {
  struct trace_wait* wait = bpf_ringbuf_reserve(&events, sizeof(*wait), 0);

  if (!wait) {
    count_lost();
    return NULL;
  }
  wait->kind = kind;
  wait->cpu = bpf_get_smp_processor_id();
  wait->number = ++state->wait_number;
  wait->vector = -1;
  wait->pad = 0;
  wait->vector_ns = 0;
  return wait;
}

static __always_inline void finish_wait(struct cpu_state* state, struct trace_wait* wait, void* ctx) {
  struct task_struct* task = (void*)bpf_get_current_task();
  struct compat_steal steal;

  describe_task(&wait->task, task);
  wait->task.stack_bytes = bpf_get_stack(ctx, wait->task.stack, sizeof(wait->task.stack), 0);
  state->release_number = wait->number;
  state->release_until_ns = wait->end_ns + RELEASE_WINDOW_NS;
  steal = compat_steal(task);
  state->steal_number = steal.clock_ns ? wait->number : 0;
  state->steal_before_ns = state->steal_quiet_ns ? state->steal_quiet_ns : steal.stolen_ns;
  state->steal_clock_ns = steal.clock_ns;
  submit_event(wait);
}

/* Called until the scheduler's clock has taken a step after the wait, mostly at the next tick: the count of stolen time then
 * includes all of the wait, and began shortly before it. */
static __noinline void report_steal(struct cpu_state* state) {
  struct compat_steal steal = compat_steal((void*)bpf_get_current_task());
  struct trace_steal* record;

  if (steal.clock_ns == state->steal_clock_ns)
    return;
  record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
  if (record) {
    record->kind = TRACE_STEAL;
    record->cpu = bpf_get_smp_processor_id();
    record->number = state->steal_number;
    record->stolen_ns = steal.stolen_ns - state->steal_before_ns;
    submit_event(record);
  } else {
    count_lost();
  }
  state->steal_number = 0;
}

/* Hard interrupts off: the first timer that expires afterwards is late, and nothing else was served in between. */
SEC("tp_btf/hrtimer_expire_entry")
int BPF_PROG(on_hrtimer_expire, struct hrtimer* timer, void* base_now) {
  struct cpu_state* state = this_cpu();
  __u64 now = bpf_ktime_get_ns();
  struct trace_wait* wait;
  __s64 base_time = 0, late;
  __u64 silent_since;

  if (!state)
    return 0;
  if (state->steal_number)
    report_steal(state);
  silent_since = state->alive_ns;
  state->alive_ns = now;
  /* Here and not in the CPU clock's program, which perf does not always call on an idle CPU. */
  if (now >= state->next_look_ns)
    look_at_another_cpu(state, now);
  if (!silent_since || now - silent_since < threshold_ns)
    return 0;
  /* Soft timers expire in a softirq: being late says nothing about hard interrupts. */
  if (timer->is_soft)
    return 0;
  /* The timer's own clock base: it may be real time. */
  bpf_probe_read_kernel(&base_time, sizeof(base_time), base_now);
  late = base_time - timer->node.expires;
  if (late < (__s64)threshold_ns)
    return 0;
  /* A timer may be set to a time already past; the CPU was not silent for longer than it was silent. */
  if ((__u64)late > now - silent_since)
    late = now - silent_since;
  wait = begin_wait(state, TRACE_IRQS_OFF);
  if (!wait)
    return 0;
  wait->earliest_start_ns = silent_since;
  wait->latest_start_ns = now - late;
  wait->end_ns = now;
  finish_wait(state, wait, ctx);
  return 0;
}

SEC("tp_btf/softirq_raise")
int BPF_PROG(on_softirq_raise, unsigned int vector) {
  struct cpu_state* state;

  if (vector != NET_RX_SOFTIRQ)
    return 0;
  state = this_cpu();
  /* Keep the oldest: each later raise would hide how long the first has waited. */
  if (state && !state->rx_raised_ns) {
    state->rx_raised_ns = bpf_ktime_get_ns();
    state->longest_vector_ns = 0;
  }
  return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(on_softirq_entry, unsigned int vector) {
  struct cpu_state* state = this_cpu();
  struct trace_wait* wait;
  __u64 now, raised;

  if (!state)
    return 0;
  now = bpf_ktime_get_ns();
  if (vector != NET_RX_SOFTIRQ) {
    state->vector_entered_ns = now;
    return 0;
  }
  raised = state->rx_raised_ns;
  state->rx_raised_ns = 0;
  state->rx_entered_ns = now;
  state->rx_packets = 0;
  state->rx_work = 0;
  state->rx_left_off = 0;
  if (!raised || now - raised < threshold_ns)
    return 0;
  wait = begin_wait(state, TRACE_SOFTIRQ_LATE);
  if (!wait)
    return 0;
  wait->earliest_start_ns = raised;
  wait->latest_start_ns = raised;
  wait->end_ns = now;
  if (state->longest_vector_ns) {
    wait->vector = state->longest_vector;
    wait->vector_ns = state->longest_vector_ns;
  }
  finish_wait(state, wait, ctx);
  return 0;
}

static __noinline void report_release(struct cpu_state* state) {
  struct trace_release* release = bpf_ringbuf_reserve(&events, sizeof(*release), 0);

  if (!release) {
    count_lost();
    return;
  }
  release->kind = TRACE_RELEASE;
  release->cpu = bpf_get_smp_processor_id();
  release->number = state->release_number;
  release->packet_count = state->rx_packets;
  submit_event(release);
}

/* Runs that each ended at a budget, until one emptied the queues. */
static __noinline void report_squeeze(struct cpu_state* state, void* ctx, __u64 now) {
  __u64 since = state->squeezed_since_ns;
  struct trace_wait* wait;

  state->squeezed_since_ns = 0;
  if (now - since < threshold_ns)
    return;
  wait = begin_wait(state, TRACE_BUDGET);
  if (!wait)
    return;
  wait->earliest_start_ns = since;
  wait->latest_start_ns = since;
  wait->end_ns = now;
  finish_wait(state, wait, ctx);
  state->rx_packets = state->squeezed_packets; /* of all these runs: the release that is reported next */
}

static __always_inline void report_sample(struct cpu_state* state, void* ctx, __u64 now, __u32 from_nmi) {
  struct task_struct* task = (void*)bpf_get_current_task();
  struct trace_sample* sample = bpf_ringbuf_reserve(&events, sizeof(*sample), 0);

  if (!sample) {
    count_lost();
    return;
  }
  state->sampled_ns = now;
  sample->kind = TRACE_SAMPLE;
  sample->cpu = bpf_get_smp_processor_id();
  sample->time_ns = now;
  sample->preempt_count = compat_preempt_count(task);
  sample->from_nmi = from_nmi;
  describe_task(&sample->task, task);
  sample->task.stack_bytes = bpf_get_stack(ctx, sample->task.stack, sizeof(sample->task.stack), 0);
  submit_event(sample);
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(on_softirq_exit, unsigned int vector) {
  struct cpu_state* state = this_cpu();
  struct trace_wait* wait;
  __u64 now, entered;

  if (!state)
    return 0;
  if (vector != NET_RX_SOFTIRQ) {
    entered = state->vector_entered_ns;
    state->vector_entered_ns = 0;
    if (state->rx_raised_ns && entered) {
      now = bpf_ktime_get_ns();
      if (now - entered > state->longest_vector_ns) {
        state->longest_vector_ns = now - entered;
        state->longest_vector = vector;
      }
      /* A virtual machine's clock may come too late to see who was interrupted; who serves NET_RX later may be another. */
      if (state->sampled_ns < entered && now - entered > threshold_ns / 2 && now - state->rx_raised_ns > threshold_ns / 2)
        report_sample(state, ctx, now, 0);
    }
    return 0;
  }
  now = bpf_ktime_get_ns();
  entered = state->rx_entered_ns;
  state->rx_entered_ns = 0;
  state->squeezed_packets += state->rx_packets;
  if (state->rx_raised_ns) {
    /* Raised again while it ran: what came until now was this run's to serve, up to its budget. */
    state->rx_raised_ns = now;
    if (!state->squeezed_since_ns && entered &&
        (state->rx_left_off || state->rx_work >= budget_packets || now - entered >= budget_ns))
      state->squeezed_since_ns = entered;
    if (state->squeezed_since_ns == entered)
      state->squeezed_packets = state->rx_packets;
  } else if (state->squeezed_since_ns) {
    report_squeeze(state, ctx, now);
  }
  if (state->release_number) {
    if (entered && entered < state->release_until_ns)
      report_release(state);
    state->release_number = 0;
  }
  if (!entered || now - entered < threshold_ns)
    return 0;
  wait = begin_wait(state, TRACE_NET_RX_LONG);
  if (!wait)
    return 0;
  wait->earliest_start_ns = entered;
  wait->latest_start_ns = entered;
  wait->end_ns = now;
  finish_wait(state, wait, ctx);
  /* Its packets are known: they are the ones it delivered. */
  report_release(state);
  state->release_number = 0;
  return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_sched_wakeup, struct task_struct* task) {
  enum trace_thread thread = softirq_thread(task);
  struct cpu_state* state;
  __u64 now;

  if (thread == TRACE_THREAD_OTHER)
    return 0;
  now = bpf_ktime_get_ns();
  if (thread == TRACE_THREAD_KSOFTIRQD) {
    state = this_cpu(); /* only its own CPU wakes it */
    if (state && !state->ksoftirqd_woken_ns)
      state->ksoftirqd_woken_ns = now;
    return 0;
  }
  napi_thread_waits(task, compat_task_cpu(task), now);
  return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_sched_switch, bool preempt, struct task_struct* prev, struct task_struct* next) {
  struct cpu_state* state = this_cpu();
  __u64 now = bpf_ktime_get_ns();
  enum trace_thread thread;
  struct trace_wait* wait;
  __u64 woken = 0;

  if (!state)
    return 0;
  state->alive_ns = now;
  state->running = (__u64)next;
  /* Another took its place while it had work to do. */
  if (preempt && softirq_thread(prev) == TRACE_THREAD_NAPI)
    napi_thread_waits(prev, bpf_get_smp_processor_id(), now);
  thread = softirq_thread(next);
  if (thread == TRACE_THREAD_OTHER)
    return 0;
  if (thread == TRACE_THREAD_KSOFTIRQD) {
    woken = state->ksoftirqd_woken_ns;
    state->ksoftirqd_woken_ns = 0;
  } else {
    woken = napi_thread_runs(next);
  }
  if (!woken || now - woken < threshold_ns)
    return 0;
  wait = begin_wait(state, TRACE_THREAD_LATE);
  if (!wait)
    return 0;
  wait->earliest_start_ns = woken;
  wait->latest_start_ns = woken;
  wait->end_ns = now;
  wait->vector = thread;
  finish_wait(state, wait, ctx);
  return 0;
}

/* Who has the CPU, kept only while something has been waiting for half the threshold: then the culprit is caught in the act. */
SEC("perf_event")
int on_cpu_clock(void* ctx) {
  struct cpu_state* state = this_cpu();
  __u64 patience = threshold_ns / 2;
  struct compat_steal steal;
  __u64 napi_since;
  __u64 now;

  if (!state)
    return 0;
  now = bpf_ktime_get_ns();
  napi_since = napi_waiting_since(bpf_get_smp_processor_id());
  if (!(state->rx_raised_ns && now - state->rx_raised_ns > patience) &&
      !(state->rx_entered_ns && now - state->rx_entered_ns > patience) &&
      !(state->squeezed_since_ns && now - state->squeezed_since_ns > patience) &&
      !(state->vector_entered_ns && now - state->vector_entered_ns > patience) &&
      !(state->ksoftirqd_woken_ns && now - state->ksoftirqd_woken_ns > patience) && !(napi_since && now - napi_since > patience)) {
    steal = compat_steal((void*)bpf_get_current_task());
    state->steal_quiet_ns = steal.stolen_ns;
    return 0;
  }
  report_sample(state, ctx, now, 0);
  return 0;
}

/* The same by a hardware counter, whose interrupt (an NMI) comes even while hard IRQs are off: it samples what the clock cannot. */
SEC("perf_event")
int on_hardware_cycles(void* ctx) {
  struct cpu_state* state = this_cpu();
  __u64 now;

  if (!state)
    return 0;
  now = bpf_ktime_get_ns();
  if (state->alive_ns && now > state->alive_ns && now - state->alive_ns > SILENT_PERIODS * sample_period_ns)
    report_sample(state, ctx, now, 1);
  return 0;
}

static __always_inline int flush_begins(void) {
  struct cpu_state* state = this_cpu();

  if (state)
    state->flush_locked_ns = bpf_ktime_get_ns();
  return 0;
}

static __always_inline int flush_ends(struct cgroup* cgroup) {
  struct cpu_state* state = this_cpu();
  struct trace_flush* flush;
  __u64 locked, now, who;

  if (!state)
    return 0;
  locked = state->flush_locked_ns;
  state->flush_locked_ns = 0;
  now = bpf_ktime_get_ns();
  if (!locked || now - locked < threshold_ns)
    return 0;
  flush = bpf_ringbuf_reserve(&events, sizeof(*flush), 0);
  if (!flush) {
    count_lost();
    return 0;
  }
  who = bpf_get_current_pid_tgid();
  flush->kind = TRACE_FLUSH;
  flush->cpu = bpf_get_smp_processor_id();
  flush->start_ns = locked;
  flush->end_ns = now;
  flush->pid = (__u32)who;
  flush->tgid = who >> 32;
  flush->pad = 0;
  bpf_get_current_comm(flush->comm, sizeof(flush->comm));
  flush->cgroup_bytes = cgroup_names(flush->cgroup, cgroup);
  submit_event(flush);
  return 0;
}

/* The rstat lock is taken with interrupts off (kernel/cgroup/rstat.c), so holding it for long is a stall by itself. */
SEC("tp_btf/cgroup_rstat_locked")
int BPF_PROG(on_rstat_locked, struct cgroup* cgroup, int cpu, bool contended) {
  return flush_begins();
}

SEC("tp_btf/cgroup_rstat_unlock")
int BPF_PROG(on_rstat_unlock, struct cgroup* cgroup, int cpu, bool contended) {
  return flush_ends(cgroup);
}

/*
 * What holds the lock all the while, for kernels before these tracepoints (6.10). A flush that may sleep lets the lock go in
 * between where others want it: one that went on elsewhere is left out, another counts as one piece.
 */
SEC("fentry/cgroup_rstat_flush_locked")
int BPF_PROG(on_flush_entry, struct cgroup* cgroup) {
  return flush_begins();
}

SEC("fexit/cgroup_rstat_flush_locked")
int BPF_PROG(on_flush_exit, struct cgroup* cgroup) {
  return flush_ends(cgroup);
}

SEC("tp_btf/napi_poll")
int BPF_PROG(on_napi_poll, void* napi, int work, int budget) {
  struct cpu_state* state = this_cpu();

  if (!state)
    return 0;
  state->rx_work += work;
  /* net_rx_action comes back to it in another run, unless others are waiting to be polled in this one. */
  if (work >= budget)
    state->rx_left_off = 1;
  return 0;
}

SEC("tp_btf/netif_rx_entry")
int BPF_PROG(on_netif_rx, struct sk_buff* skb) {
  probe_enqueued(skb);
  return 0;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(on_netif_receive_skb, struct sk_buff* skb) {
  struct cpu_state* state = this_cpu();

  if (state)
    state->rx_packets++;
  probe_received(skb);
  return 0;
}
