// SPDX-License-Identifier: Apache-2.0
#include "remedy/kernel_fixes.h"

#include <array>
#include <charconv>
#include <utility>

namespace stallscope::remedy {
namespace {

// Sources and the facts around them: docs/kernels.md. Releases inferred from a commit's date have "~" there.
constexpr std::array<KernelFix, 11> fixes = {{
    {"memcg-stat-flush", 4, 16, "a read no longer goes through every CPU for each cgroup and counter", "a983b5ebee57"},
    {"memcg-stat-flush", 5, 2, "counters are summed in the tree", "42a300353577"},
    {"memcg-stat-flush", 5, 13, "a read flushes only what is pending (rstat)", "2d146aa3aa84"},
    {"memcg-stat-flush", 5, 16, "a flush is skipped while little has changed", "11192d9c124d"},
    {"memcg-stat-flush", 6, 8, "fewer readers flush at once", "7d7ef0a4686a"},
    {"memcg-stat-flush", 6, 15, "a flush gives interrupts back between CPUs: 45 ms became 4 ms on more than 400 CPUs",
     "0efc297a3c49"},
    {"zombies", 5, 3, "slab objects no longer pin dying cgroups", "fb2f2b0adb98"},
    {"zombies", 5, 14, "dirty inodes no longer pin dying cgroups", "c22d70a162d3"},
    {"zombies", 7, 1, "page cache is charged to the parent when a cgroup goes", ""},
    {"slabinfo-read", 6, 10, "slabinfo no longer walks lists of slabs with interrupts off", "046f4c69090c"},
    {"thread-delay", 6, 5, "pending softirqs no longer wait for a runnable ksoftirqd", "d15121be7485"},
}};

std::optional<std::pair<int, int>> version_of(std::string_view release) {
  std::pair<int, int> version;
  const char* const end = release.data() + release.size();
  const auto [dot, error] = std::from_chars(release.data(), end, version.first);
  if (error != std::errc{} || dot == end || *dot != '.') {
    return std::nullopt;
  }
  const auto [rest, minor_error] = std::from_chars(dot + 1, end, version.second);
  return minor_error == std::errc{} ? std::optional(version) : std::nullopt;
}

}  // namespace

std::vector<KernelFix> fixes_after(std::string_view rule_id, std::string_view release) {
  std::vector<KernelFix> later;
  const std::optional<std::pair<int, int>> version = version_of(release);
  for (const KernelFix& fix : fixes) {
    if (version && fix.rule_id == rule_id && std::pair(fix.major, fix.minor) > *version) {
      later.push_back(fix);
    }
  }
  return later;
}

}  // namespace stallscope::remedy
