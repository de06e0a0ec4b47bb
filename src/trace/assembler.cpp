// SPDX-License-Identifier: Apache-2.0
#include "trace/assembler.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "evidence/syscalls.h"

namespace stallscope::trace {
namespace {

using evidence::Occupant;
using evidence::WaitMode;
using evidence::WaitRecord;

/// A wait is the hypervisor's when at least this part of it was stolen; of less the diagnosis gives each its share. The rest are
/// moments the count of stolen time does not cover exactly.
constexpr double stolen_part = 0.9;
/// Another vector is named as the cause when it ran for at least this part of the wait.
constexpr double vector_part = 0.5;
/// Bottom halves were off when they were so in at least this part of the samples of the wait.
constexpr double bh_off_part = 0.5;
/// include/linux/preempt.h: bit 8 says that a softirq is being served, the seven above count local_bh_disable().
constexpr std::int32_t serving_softirq = 0x100;
constexpr std::int32_t bh_disabled = 0xfe00;
/// More occupants of one wait than a person reads; the rest is left unexplained.
constexpr std::size_t occupant_limit = 8;
/// One second of samples at 1 kHz, longer than waits that leave a machine usable; bounds memory.
constexpr std::size_t sample_limit = 2000;
/// Of a CPU, not yet joined to a wait: looks are at doubling distances, so these cover years of silence.
constexpr std::size_t glimpse_limit = 64;
constexpr std::int32_t net_rx_vector = 3;

/// Names innermost first, each ended by NUL -> "/outer/inner".
std::string path_of(const char* names, std::uint32_t size_bytes) {
  const std::string_view all(names, std::min<std::size_t>(size_bytes, TRACE_PATH_BYTES));
  std::string path;
  std::size_t end = all.size();
  while (end > 0) {
    const std::size_t terminator = end - 1;
    const std::size_t previous = terminator == 0 ? std::string_view::npos : all.rfind('\0', terminator - 1);
    const std::size_t begin = previous == std::string_view::npos ? 0 : previous + 1;
    path += '/';
    path += all.substr(begin, terminator - begin);
    end = begin;
  }
  return path.empty() ? "/" : path;
}

template <std::size_t size>
std::string text_of(const char (&field)[size]) {
  return {static_cast<const char*>(field), strnlen(field, size)};
}

template <std::size_t size>
std::span<const std::uint64_t> first_of(const __u64 (&addresses)[size], std::size_t count) {
  static_assert(sizeof(__u64) == sizeof(std::uint64_t));
  return {reinterpret_cast<const std::uint64_t*>(addresses), std::min(count, size)};
}

std::span<const std::uint64_t> addresses_of(const trace_task& task) {
  return first_of(task.stack, task.stack_bytes > 0 ? static_cast<std::size_t>(task.stack_bytes) / sizeof(std::uint64_t) : 0);
}

/// Of the samples of one thread in one system call, the middle one whose stack is whole. The kernel's unwinder loses its way at
/// some instructions, in a retpoline's thunk for one, and what it gives then ends early; whole stacks all end where the thread came
/// in.
const trace_sample* middle_of_whole(const std::vector<const trace_sample*>& samples) {
  const auto outermost = [](const trace_sample* sample) {
    const std::span<const std::uint64_t> addresses = addresses_of(sample->task);
    return addresses.empty() ? 0 : addresses.back();
  };
  std::map<std::uint64_t, std::size_t> counts;
  for (const trace_sample* sample : samples) {
    ++counts[outermost(sample)];
  }
  const auto usual =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  std::vector<const trace_sample*> whole;
  std::copy_if(samples.begin(), samples.end(), std::back_inserter(whole),
               [&](const trace_sample* sample) { return outermost(sample) == usual->first; });
  return whole[whole.size() / 2];
}

bool is_idle(const trace_task& task) {
  return task.pid == 0 && (task.flags & TRACE_TASK_EXITING) == 0U;
}

std::int64_t signed_ns(__u64 value) {
  return static_cast<std::int64_t>(value);
}

/// The record of the expected size, or nothing.
template <typename T>
std::optional<T> record_as(const void* record, std::size_t size_bytes) {
  if (size_bytes < sizeof(T)) {
    return std::nullopt;
  }
  T copy{};
  std::memcpy(&copy, record, sizeof(T));
  return copy;
}

}  // namespace

WaitAssembler::WaitAssembler(SymbolLookup lookup, Sink& sink) : lookup_(std::move(lookup)), sink_(sink) {}

base::Status WaitAssembler::on_record(const void* record, std::size_t size_bytes) {
  const std::optional<std::uint32_t> kind = record_as<std::uint32_t>(record, size_bytes);
  switch (kind.value_or(0)) {
    case TRACE_IRQS_OFF:
    case TRACE_SOFTIRQ_LATE:
    case TRACE_NET_RX_LONG:
    case TRACE_THREAD_LATE:
    case TRACE_BUDGET:
      if (const auto wait = record_as<trace_wait>(record, size_bytes)) {
        CpuState& cpu = cpus_[wait->cpu];
        if (wait->kind == TRACE_THREAD_LATE && wait->vector == TRACE_THREAD_KSOFTIRQD) {
          cpu.ksoftirqd_delays.push_back(*wait);
        } else {
          cpu.pending.push_back({*wait});
        }
        return base::ok();
      }
      break;
    case TRACE_SAMPLE:
      if (const auto sample = record_as<trace_sample>(record, size_bytes)) {
        CpuState& cpu = cpus_[sample->cpu];
        cpu.samples.push_back(*sample);
        if (cpu.samples.size() > sample_limit) {
          cpu.samples.pop_front();
        }
        return base::ok();
      }
      break;
    case TRACE_GLIMPSE:
      if (const auto glimpse = record_as<trace_glimpse>(record, size_bytes)) {
        std::deque<trace_glimpse>& glimpses = cpus_[glimpse->cpu].glimpses;
        glimpses.push_back(*glimpse);
        if (glimpses.size() > glimpse_limit) {
          glimpses.pop_front();
        }
        return base::ok();
      }
      break;
    case TRACE_RELEASE:
      if (const auto release = record_as<trace_release>(record, size_bytes)) {
        for (PendingWait& pending : cpus_[release->cpu].pending) {
          if (pending.event.number == release->number) {
            pending.packets_released = signed_ns(release->packet_count);
          }
        }
        return base::ok();
      }
      break;
    case TRACE_STEAL:
      if (const auto steal = record_as<trace_steal>(record, size_bytes)) {
        for (PendingWait& pending : cpus_[steal->cpu].pending) {
          if (pending.event.number == steal->number) {
            pending.stolen_ns = signed_ns(steal->stolen_ns);
          }
        }
        return base::ok();
      }
      break;
    case TRACE_FLUSH:
      if (const auto flush = record_as<trace_flush>(record, size_bytes)) {
        return write_flush(*flush);
      }
      break;
    case TRACE_PACKET:
      if (const auto packet = record_as<trace_packet>(record, size_bytes)) {
        return write_packet(*packet);
      }
      break;
    default:
      break;
  }
  ++malformed_count_;
  return base::ok();
}

base::Status WaitAssembler::settle(std::int64_t now_ns) {
  for (auto& [number, cpu] : cpus_) {
    while (!cpu.pending.empty()) {
      const PendingWait& first = cpu.pending.front();
      const bool complete = first.stolen_ns >= 0 && first.packets_released >= 0;
      if (!complete && now_ns - signed_ns(first.event.end_ns) < settle_ns) {
        break;
      }
      if (const base::Status written = write(cpu, first); !written) {
        return written.error();
      }
      cpu.pending.pop_front();
    }
    while (!cpu.ksoftirqd_delays.empty() && now_ns - signed_ns(cpu.ksoftirqd_delays.front().end_ns) > 2 * settle_ns) {
      cpu.ksoftirqd_delays.pop_front();
    }
  }
  return base::ok();
}

base::Status WaitAssembler::finish() {
  for (auto& [number, cpu] : cpus_) {
    while (!cpu.pending.empty()) {
      if (const base::Status written = write(cpu, cpu.pending.front()); !written) {
        return written.error();
      }
      cpu.pending.pop_front();
    }
  }
  return base::ok();
}

base::Status WaitAssembler::write(CpuState& cpu, const PendingWait& pending) {
  const trace_wait& event = pending.event;
  WaitRecord wait;
  wait.id = next_wait_id_++;
  wait.cpu = static_cast<std::int32_t>(event.cpu);
  wait.earliest_start_ns = signed_ns(event.earliest_start_ns);
  wait.latest_start_ns = signed_ns(event.latest_start_ns);
  wait.start_ns = wait.earliest_start_ns + ((wait.latest_start_ns - wait.earliest_start_ns) / 2);
  wait.end_ns = signed_ns(event.end_ns);
  // Released packets are reported by the run that follows; where none followed at once, nothing had waited.
  wait.packets_released = counts_packets_ ? std::max<std::int64_t>(pending.packets_released, 0) : -1;
  wait.stolen_ns = pending.stolen_ns;

  const trace_task* culprit = &event.task;
  bool sampled = true;
  switch (event.kind) {
    case TRACE_IRQS_OFF:
      wait.mode = WaitMode::hard_irqs_off;
      sampled = std::any_of(cpu.samples.begin(), cpu.samples.end(),
                            [&](const trace_sample& sample) { return of_wait(sample, wait, true); });
      break;
    case TRACE_NET_RX_LONG:
      wait.mode = WaitMode::net_rx_work;
      wait.vector = net_rx_vector;
      break;
    case TRACE_BUDGET:
      wait.mode = WaitMode::napi_budget;
      break;
    case TRACE_THREAD_LATE:
      wait.mode = WaitMode::napi_thread_delayed;
      wait.packets_released = -1;  // a NAPI thread's packets are not counted per run
      break;
    default: {
      wait.mode = WaitMode::softirq_delayed;
      const auto length_ns = static_cast<double>(wait.length_ns());
      if (event.vector >= 0 && static_cast<double>(event.vector_ns) >= vector_part * length_ns) {
        wait.mode = WaitMode::softirq_vector;
        wait.vector = event.vector;
        break;
      }
      for (const trace_wait& delay : cpu.ksoftirqd_delays) {
        if (delay.end_ns > event.earliest_start_ns && delay.end_ns <= event.end_ns) {
          wait.mode = WaitMode::ksoftirqd_delayed;
          culprit = &delay.task;
        }
      }
      if (mostly_bh_off(cpu, wait)) {
        wait.mode = WaitMode::bh_off;
      }
      break;
    }
  }

  const KernelStack stack = interrupted_stack(addresses_of(*culprit), lookup_);
  // User space and the idle loop can neither have interrupts off nor leave a pending softirq unserved: where a timer or the softirq
  // was late there, the virtual CPU did not run. Whatever did run meanwhile would have been sampled.
  const bool in_user_space = (culprit->flags & TRACE_TASK_IN_USER_SPACE) != 0U || (stack.interrupted && stack.frames.empty());
  const bool could_run = wait.mode == WaitMode::softirq_delayed ? !sampled_within(cpu, wait) : event.kind == TRACE_IRQS_OFF;
  const bool could_not_hold = could_run && (is_idle(*culprit) || in_user_space);
  if (could_not_hold ||
      (pending.stolen_ns >= 0 && static_cast<double>(pending.stolen_ns) >= stolen_part * static_cast<double>(wait.length_ns()))) {
    wait.mode = WaitMode::vcpu_stolen;
  }

  if (sampled) {
    if (const base::Status added = add_sampled_occupants(cpu, wait, event.kind == TRACE_IRQS_OFF); !added) {
      return added.error();
    }
  }
  if (wait.occupants.empty()) {
    base::Result<Occupant> seen_at_end = occupant(*culprit, stack);
    if (!seen_at_end) {
      return seen_at_end.error();
    }
    seen_at_end->held_ns = wait.length_ns();
    wait.occupants.push_back(std::move(*seen_at_end));
  }
  if (const base::Status added = sink_.add(wait); !added) {
    return added.error();
  }
  if (event.kind == TRACE_IRQS_OFF) {
    if (const base::Status written = write_glimpses(cpu, wait); !written) {
      return written.error();
    }
  }
  return sampled ? write_samples(cpu, wait, event.kind == TRACE_IRQS_OFF) : base::ok();
}

bool WaitAssembler::mostly_bh_off(const CpuState& cpu, const WaitRecord& wait) {
  std::int32_t total_count = 0;
  std::int32_t off_count = 0;
  for (const trace_sample& sample : cpu.samples) {
    if (signed_ns(sample.time_ns) >= wait.start_ns && signed_ns(sample.time_ns) <= wait.end_ns && sample.preempt_count >= 0) {
      ++total_count;
      off_count += (sample.preempt_count & serving_softirq) == 0 && (sample.preempt_count & bh_disabled) != 0 ? 1 : 0;
    }
  }
  return total_count > 0 && off_count >= bh_off_part * total_count;
}

bool WaitAssembler::sampled_within(const CpuState& cpu, const WaitRecord& wait) {
  return std::any_of(cpu.samples.begin(), cpu.samples.end(), [&](const trace_sample& sample) {
    return signed_ns(sample.time_ns) >= wait.start_ns && signed_ns(sample.time_ns) <= wait.end_ns && !is_idle(sample.task);
  });
}

base::Status WaitAssembler::write_glimpses(CpuState& cpu, const WaitRecord& wait) {
  while (!cpu.glimpses.empty() && signed_ns(cpu.glimpses.front().time_ns) <= wait.end_ns) {
    const trace_glimpse glimpse = cpu.glimpses.front();
    cpu.glimpses.pop_front();
    const std::int64_t time_ns = signed_ns(glimpse.time_ns);
    if (time_ns < wait.earliest_start_ns) {
      continue;
    }
    const base::Result<std::int64_t> stack_id = add_stack(raw_stack(first_of(glimpse.addresses, glimpse.address_count), lookup_));
    if (!stack_id) {
      return stack_id.error();
    }
    const evidence::SampleRecord seen{wait.id, time_ns, time_ns, 0, glimpse.pid, text_of(glimpse.comm), *stack_id};
    if (const base::Status added = sink_.add(seen); !added) {
      return added.error();
    }
  }
  return base::ok();
}

bool WaitAssembler::of_wait(const trace_sample& sample, const WaitRecord& wait, bool irqs_off) {
  const std::int64_t time_ns = signed_ns(sample.time_ns);
  // With hard IRQs off the clock takes none; what lies at the edge is of before.
  return time_ns >= wait.start_ns && time_ns <= wait.end_ns && (!irqs_off || sample.from_nmi != 0);
}

base::Status WaitAssembler::add_sampled_occupants(const CpuState& cpu, WaitRecord& wait, bool irqs_off) {
  // One occupant per thread and system call; the stack shown is the one of its middle sample, past any start-up work.
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<const trace_sample*>> groups;
  std::int32_t total = 0;
  for (const trace_sample& sample : cpu.samples) {
    if (of_wait(sample, wait, irqs_off)) {
      groups[{sample.task.pid, sample.task.syscall_number}].push_back(&sample);
      ++total;
    }
  }
  for (const auto& [key, samples] : groups) {
    const trace_task& task = middle_of_whole(samples)->task;
    base::Result<Occupant> found = occupant(task, plain_stack(addresses_of(task), lookup_));
    if (!found) {
      return found.error();
    }
    found->sample_count = static_cast<std::int32_t>(samples.size());
    found->held_ns = wait.length_ns() * found->sample_count / total;
    wait.occupants.push_back(std::move(*found));
  }
  std::stable_sort(wait.occupants.begin(), wait.occupants.end(),
                   [](const Occupant& a, const Occupant& b) { return a.held_ns > b.held_ns; });
  if (wait.occupants.size() > occupant_limit) {
    wait.occupants.resize(occupant_limit);
  }
  return base::ok();
}

base::Result<Occupant> WaitAssembler::occupant(const trace_task& task, const KernelStack& stack) {
  Occupant result;
  result.pid = task.pid;
  result.tgid = task.tgid;
  result.comm = text_of(task.comm);
  result.kernel_thread = (task.flags & TRACE_TASK_KERNEL_THREAD) != 0U || is_idle(task);
  if ((task.flags & TRACE_TASK_CGROUP_UNKNOWN) == 0U) {
    result.cgroup = path_of(task.cgroup, task.cgroup_bytes);
  }
  // Without a stack the registers alone decide: a plausible number is taken at its word.
  const bool registers = (task.flags & TRACE_TASK_HAS_REGISTERS) != 0U && task.pid != 0 && task.syscall_number >= 0;
  const bool in_system_call =
      stack.frames.empty() ? task.stack_bytes <= 0 && task.syscall_number < evidence::syscall_number_limit : stack.in_system_call;
  if (registers && in_system_call) {
    result.syscall_number = task.syscall_number;
    for (std::size_t i = 0; i < result.syscall_arguments.size(); ++i) {
      result.syscall_arguments[i] = task.syscall_arguments[i];
    }
    if (task.file_bytes > 0 && evidence::syscall_takes_descriptor(task.syscall_number)) {
      result.file = path_of(task.file, task.file_bytes);
    }
  } else if ((task.flags & TRACE_TASK_CALL_BY_STACK) != 0U && stack.in_system_call) {
    result.syscall_number = system_call_of(stack.frames);
    result.syscall_arguments.fill(Occupant::unknown_argument);
  }
  const base::Result<std::int64_t> id = add_stack(stack);
  if (!id) {
    return id.error();
  }
  result.stack_id = *id;
  return result;
}

base::Result<std::int64_t> WaitAssembler::add_stack(const KernelStack& stack) {
  return stack.frames.empty() ? base::Result<std::int64_t>(0) : sink_.add_stack(stack.frames);
}

base::Status WaitAssembler::write_samples(const CpuState& cpu, const WaitRecord& wait, bool irqs_off) {
  std::optional<evidence::SampleRecord> current;
  for (const trace_sample& sample : cpu.samples) {
    const std::int64_t time_ns = signed_ns(sample.time_ns);
    if (!of_wait(sample, wait, irqs_off)) {
      continue;
    }
    const base::Result<std::int64_t> stack_id = add_stack(plain_stack(addresses_of(sample.task), lookup_));
    if (!stack_id) {
      return stack_id.error();
    }
    if (current && current->pid == sample.task.pid && current->stack_id == *stack_id) {
      current->last_ns = time_ns;
      ++current->sample_count;
      continue;
    }
    if (current) {
      if (const base::Status added = sink_.add(*current); !added) {
        return added.error();
      }
    }
    current = {wait.id, time_ns, time_ns, 1, sample.task.pid, text_of(sample.task.comm), *stack_id};
  }
  return current ? sink_.add(*current) : base::ok();
}

base::Status WaitAssembler::write_packet(const trace_packet& packet) {
  evidence::PacketRecord record;
  // The wire carries 16 bits; the sequence nearest to the last one seen is meant. Half the range is 32,768 probes: 3 s at 10 kHz.
  // The first one is taken as it is: a recording may begin long after the probes of another host did.
  const std::int64_t last = last_sequence_.value_or(packet.sequence);
  const auto difference = static_cast<std::int16_t>(static_cast<std::uint16_t>(packet.sequence - static_cast<std::uint16_t>(last)));
  record.sequence = std::max<std::int64_t>(last + difference, 0);
  last_sequence_ = std::max(last, record.sequence);
  record.leg = packet.is_reply != 0 ? evidence::PacketLeg::reply : evidence::PacketLeg::request;
  record.netns_inode = packet.netns_inode;
  record.ifindex = packet.ifindex;
  record.device = text_of(packet.device);
  record.cpu = static_cast<std::int32_t>(packet.cpu);
  record.rx_queue = packet.rx_queue;
  record.enqueued_ns = signed_ns(packet.enqueued_ns);
  record.received_ns = signed_ns(packet.received_ns);
  record.pid = packet.pid;
  record.comm = text_of(packet.comm);
  if (packet.pid == 0) {
    record.served_by = evidence::ServedBy::idle;
  } else if (record.comm.starts_with("ksoftirqd/")) {
    record.served_by = evidence::ServedBy::ksoftirqd;
  } else if (record.comm.starts_with("napi/")) {
    record.served_by = evidence::ServedBy::napi_thread;
  } else {
    record.served_by = evidence::ServedBy::task;
    // Interrupted in user space it has a negative one there.
    if (packet.syscall_number >= 0 && packet.syscall_number < evidence::syscall_number_limit) {
      record.syscall_number = packet.syscall_number;
    }
  }
  return sink_.add(record);
}

base::Status WaitAssembler::write_flush(const trace_flush& flush) {
  evidence::FlushRecord record;
  record.cpu = static_cast<std::int32_t>(flush.cpu);
  record.start_ns = signed_ns(flush.start_ns);
  record.end_ns = signed_ns(flush.end_ns);
  record.pid = flush.pid;
  record.tgid = flush.tgid;
  record.comm = text_of(flush.comm);
  record.cgroup = path_of(flush.cgroup, flush.cgroup_bytes);
  return sink_.add(record);
}

}  // namespace stallscope::trace
