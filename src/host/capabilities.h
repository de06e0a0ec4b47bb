// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "host/file_tree.h"

namespace stallscope::host {

/// Numbers of include/uapi/linux/capability.h. CAP_PERFMON and CAP_BPF were split from CAP_SYS_ADMIN in Linux 5.8.
enum class Capability : std::uint8_t { net_admin = 12, net_raw = 13, sys_admin = 21, syslog = 34, perfmon = 38, bpf = 39 };

/// How far the kernel is locked down against root (security/lockdown).
enum class Lockdown : std::uint8_t { unknown, none, integrity, confidentiality };

/// What this process may do, and the settings of the machine that limit it.
struct Capabilities {
  /// Nothing where /proc/self/status could not be read.
  std::optional<std::uint64_t> effective;
  std::optional<std::uint32_t> effective_uid;
  /// /proc/sys/kernel: kptr_restrict, perf_event_paranoid, unprivileged_bpf_disabled.
  std::optional<int> kptr_restrict;
  std::optional<int> perf_event_paranoid;
  std::optional<int> unprivileged_bpf_disabled;
  Lockdown lockdown = Lockdown::unknown;

  [[nodiscard]] bool has(Capability capability) const;

  // Whether the kernel would allow an action as far as capabilities decide; a security module can still refuse.

  /// Load and attach tracing programs.
  [[nodiscard]] bool can_trace() const;
  /// Sample the CPU clock of all tasks on a CPU.
  [[nodiscard]] bool can_sample_cpus() const;
  /// See addresses in /proc/kallsyms: kallsyms_show_value() of kernel/kallsyms.c.
  [[nodiscard]] bool can_see_kernel_addresses() const;
  [[nodiscard]] bool can_open_raw_sockets() const { return has(Capability::net_raw); }
};

[[nodiscard]] Capabilities read_capabilities(const FileTree& files = {});

/// "none [integrity] confidentiality" -> integrity.
[[nodiscard]] Lockdown parse_lockdown(std::string_view text);

}  // namespace stallscope::host
