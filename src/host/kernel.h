// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/file_tree.h"

namespace stallscope::host {

/// For people and for records. What a kernel can do is tested, never derived from its version: distributions backport.
struct KernelVersion {
  int major = 0;
  int minor = 0;
  int patch = 0;

  // clang-tidy takes the zero the compiler compares with for a null pointer.
  friend auto operator<=>(const KernelVersion&, const KernelVersion&) = default;  // NOLINT(modernize-use-nullptr)
};

/// How readily the kernel gives up the CPU while it works for a task.
enum class Preemption : std::uint8_t { unknown, none, voluntary, full, lazy, real_time };

/// The running kernel and the machine below it. A fact that could not be read is empty, not a guess.
struct Kernel {
  /// "6.1.0-18-amd64"
  std::string release;
  std::optional<KernelVersion> version;
  /// Changes with every boot.
  std::string boot_id;
  std::string hostname;
  /// "x86_64"; empty under a file tree of a kernel before 6.1 (/proc/sys/kernel/arch, commit bfca3dd3d068).
  std::string architecture;
  /// CPU numbers that may ever come online, and those that are. Numbers can have holes.
  std::vector<std::int32_t> possible_cpus;
  std::vector<std::int32_t> online_cpus;
  /// Timer interrupts per second (CONFIG_HZ).
  std::optional<int> timer_hz;
  Preemption preemption = Preemption::unknown;
  /// Whether a hypervisor is below, so that CPU time can be stolen.
  std::optional<bool> virtualised;

  /// System calls are numbered per architecture; their names and the registers of their arguments are known for x86_64 only.
  [[nodiscard]] bool decodes_system_calls() const { return architecture == "x86_64"; }
};

[[nodiscard]] Kernel read_kernel(const FileTree& files = {});

/// "6.1.0-18-amd64" -> 6.1.0. Nothing unless it starts with two numbers.
[[nodiscard]] std::optional<KernelVersion> parse_release(std::string_view release);
/// "0-3,8" -> 0 1 2 3 8, the format of /sys/devices/system/cpu. Empty for anything malformed.
[[nodiscard]] std::vector<std::int32_t> parse_cpu_list(std::string_view text);
/// From the best source there is: `debugfs` (sched/preempt: "none voluntary (full)", Linux 5.12), else `version_text` (uname -v),
/// else the boot parameter preempt= in `command_line`, else the default of `config`. Any of them may be empty.
[[nodiscard]] Preemption find_preemption(std::string_view debugfs, std::string_view version_text, std::string_view command_line,
                                         std::string_view config);
/// "none", "voluntary", "full", "lazy", "real-time", "unknown".
[[nodiscard]] std::string_view preemption_name(Preemption preemption);

}  // namespace stallscope::host
