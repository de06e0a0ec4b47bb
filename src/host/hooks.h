// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/btf.h"
#include "host/file_tree.h"

namespace stallscope::host {

/// Every facility of the kernel that stallscope may observe with.
enum class HookId : std::uint8_t {
  kernel_btf,
  ring_buffer,
  hrtimer_expire_entry,
  softirq_raise,
  softirq_entry,
  softirq_exit,
  sched_switch,
  sched_wakeup,
  netif_receive_skb,
  netif_rx_entry,
  napi_poll,
  cgroup_rstat_locked,
  cgroup_rstat_unlock,
  cpu_clock,
  hardware_pmu,
  fentry,
  kprobes,
  syscall_program,
  bpf_loop,
  tracefs,
};

/// Unknown is not absent: it could not be tested, for the reason that stands beside it.
enum class Presence : std::uint8_t { present, absent, unknown };

enum class Need : std::uint8_t {
  /// Without it nothing is traced.
  essential,
  /// Without it a kind of wait or the name of a culprit is missing.
  wanted,
  /// Confirms or sharpens what others show.
  extra,
};

/// What is known about a hook before looking at a machine. Texts are for people: no full stop at the end of `purpose`, one
/// sentence in `cost`.
struct Hook {
  HookId id;
  /// As the kernel calls it; unique.
  std::string_view name;
  Need need;
  /// What it is used for; completes "It ...".
  std::string_view purpose;
  /// What its absence costs.
  std::string_view cost;
  /// First release of Linux where stallscope can use it, and the commit. Tracepoints are used with typed arguments, which came to
  /// all of them in 5.5, whatever their own age.
  std::string_view since;
  std::string_view commit;
};

/// In the order of HookId.
[[nodiscard]] std::span<const Hook> all_hooks();
[[nodiscard]] const Hook& hook(HookId id);

/// A hook on one machine.
struct HookState {
  HookId id = HookId::kernel_btf;
  Presence presence = Presence::unknown;
  /// Why it is absent or unknown; empty where present.
  std::string reason;
};

/// Tests each hook; no result follows from the kernel's version. On the live machine this opens a perf event and, with the
/// privileges for it, attaches an empty fentry program to bpf_fentry_test1, a kernel function made for that and never called
/// otherwise. Takes about 100 ms for reading the BTF.
[[nodiscard]] std::vector<HookState> probe_hooks(const FileTree& files = {});

/// Whether the running kernel, described by `btf`, takes fentry programs: one is attached, as probe_hooks() does.
[[nodiscard]] bool accepts_fentry(const Btf& btf);

/// "present", "absent", "unknown".
[[nodiscard]] std::string_view presence_name(Presence presence);
/// "essential", "wanted", "extra".
[[nodiscard]] std::string_view need_name(Need need);

}  // namespace stallscope::host
