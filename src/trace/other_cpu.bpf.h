/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_OTHER_CPU_BPF_H
#define STALLSCOPE_TRACE_OTHER_CPU_BPF_H

/* A look at a CPU that serves no interrupts, from another that does: the only way to see in the middle of such a stretch what goes
 * on there, where no NMI can. What runs there cannot be stopped for it, so this is a hint: its stack is read raw, from its
 * outermost word inwards, and what looks like a return address may be left over from an earlier call.
 *
 * Cost: two look-ups per sample period and CPU. Only a CPU that is found silent is read, at doubling distances. */

#include "bpf/compat.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "trace/cpu_state.bpf.h"
#include "trace/events.bpf.h"
#include "trace/wait_record.h"

/* Those that can be online. */
const volatile __u32 cpu_count = 1;

/* Words of the stack that are read: 6 KiB, more than system calls use as a rule. */
#define GLIMPSE_WORDS 768
/* Where the kernel's text and its modules lie on x86_64 (Documentation/arch/x86/x86_64/mm.rst). */
#define KERNEL_TEXT_FROM 0xffffffff80000000ULL
#define KERNEL_TEXT_TO 0xffffffffff000000ULL

/* Whether a call instruction ends right before `address`: E8 with an offset, or FF /2 through a register. */
static __always_inline bool follows_a_call(__u64 address) {
  __u8 code[5];

  if (bpf_probe_read_kernel(code, sizeof(code), (void*)(address - sizeof(code))))
    return false;
  return code[0] == 0xe8 || (code[3] == 0xff && (code[4] & 0xf8) == 0xd0);
}

/* Built here, since what a ring buffer has reserved cannot be handed to the loop. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct trace_glimpse);
} glimpses SEC(".maps");

static __always_inline struct trace_glimpse* this_glimpse(void) {
  __u32 zero = 0;

  return bpf_map_lookup_elem(&glimpses, &zero);
}

/* `stack_end`: where the words begin, the outermost first. */
static long add_return_address(__u64 index, __u64* stack_end) {
  struct trace_glimpse* glimpse = this_glimpse();
  __u64 word = 0;
  __u32 count;

  if (!glimpse || glimpse->address_count >= TRACE_GLIMPSE_ADDRESSES)
    return 1;
  bpf_probe_read_kernel(&word, sizeof(word), (void*)(*stack_end - (index + 1) * sizeof(word)));
  if (word < KERNEL_TEXT_FROM || word >= KERNEL_TEXT_TO || !follows_a_call(word))
    return 0;
  count = glimpse->address_count;
  if (count >= TRACE_GLIMPSE_ADDRESSES)
    return 1;
  glimpse->addresses[count] = word;
  glimpse->address_count = count + 1;
  return 0;
}

static __noinline void report_glimpse(struct cpu_state* other, __u32 cpu, __u64 now) {
  struct task_struct* task = (void*)other->running;
  struct trace_glimpse* glimpse = this_glimpse();
  __u64 stack_end;

  /* The idle loop holds nothing up: that CPU does not run. */
  if (!glimpse || !task || !BPF_CORE_READ(task, pid))
    return;
  glimpse->kind = TRACE_GLIMPSE;
  glimpse->cpu = cpu;
  glimpse->time_ns = now;
  glimpse->pid = BPF_CORE_READ(task, pid);
  glimpse->address_count = 0;
  BPF_CORE_READ_STR_INTO(&glimpse->comm, task, comm);
  /* Up to the registers of user space, which are no addresses of code. With KASAN, which doubles stacks, it begins in their middle.
   */
  stack_end = (__u64)BPF_CORE_READ(task, stack) + COMPAT_STACK_BYTES;
  bpf_loop(GLIMPSE_WORDS, add_return_address, &stack_end, 0);
  if (bpf_ringbuf_output(&events, glimpse, sizeof(*glimpse), BPF_RB_NO_WAKEUP))
    count_lost();
}

static __always_inline void look_at_another_cpu(struct cpu_state* state, __u64 now) {
  __u32 cpus = cpu_count;
  struct cpu_state* other;
  __u64 alive;
  __u32 cpu;

  state->next_look_ns = now + sample_period_ns / 2;
  if (cpus < 2)
    return;
  /* Each looks at another one at a time, so that every CPU is looked at about once in a period. */
  state->look_distance = state->look_distance % (cpus - 1) + 1;
  cpu = (bpf_get_smp_processor_id() + state->look_distance) % cpus;
  other = compat_of_cpu(&cpu_states, cpu);
  if (!other)
    return;
  alive = other->alive_ns;
  if (!alive || now < alive + SILENT_PERIODS * sample_period_ns)
    return;
  if (other->glimpsed_alive_ns == alive && now < other->next_glimpse_ns)
    return;
  other->glimpsed_alive_ns = alive;
  other->next_glimpse_ns = now + (now - alive);
  report_glimpse(other, cpu, now);
}

#endif
