// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "host/cgroups.h"
#include "host/cpu_quota.h"

namespace stallscope::lab::cfs_throttled {

/// Owns a cgroup in the CPU controller's hierarchy, stallscope-throttled below its root. It is not in the lab's memory cgroup: on
/// cgroup v1 that is another hierarchy, and on v2 the controller would have to be handed down through it.
class QuotaCgroup {
 public:
  /// Without a quota where none is given. The error says what the kernel or the mounts lack.
  [[nodiscard]] static base::Result<QuotaCgroup> make(const std::optional<host::CpuQuota>& quota);
  ~QuotaCgroup();
  QuotaCgroup(QuotaCgroup&& other) noexcept : hierarchy_(std::move(other.hierarchy_)), owned_(std::exchange(other.owned_, false)) {}
  QuotaCgroup& operator=(QuotaCgroup&&) = delete;
  QuotaCgroup(const QuotaCgroup&) = delete;
  QuotaCgroup& operator=(const QuotaCgroup&) = delete;

  [[nodiscard]] const host::CgroupHierarchy& hierarchy() const { return hierarchy_; }
  [[nodiscard]] std::string path() const;
  /// As /proc/PID/cgroup has it.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] base::Status remove();

 private:
  explicit QuotaCgroup(host::CgroupHierarchy hierarchy) : hierarchy_(std::move(hierarchy)) {}

  host::CgroupHierarchy hierarchy_;
  bool owned_ = true;
};

/// Removes what a killed run left of it; says whether there was anything.
[[nodiscard]] base::Result<bool> remove_quota_cgroup();

}  // namespace stallscope::lab::cfs_throttled
