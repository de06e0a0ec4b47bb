// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/cfs-throttled/quota_cgroup.h"

#include <fmt/format.h>
#include <unistd.h>

#include <string_view>

#include "base/files.h"
#include "base/units.h"
#include "lab/cgroup_directory.h"

namespace stallscope::lab::cfs_throttled {
namespace {

using base::Error;
using base::Result;
using base::Status;

constexpr std::string_view cgroup_name = "/stallscope-throttled";

std::string path_in(const host::CgroupHierarchy& hierarchy) {
  return hierarchy.mount_point + std::string(cgroup_name);
}

Status set_quota(const host::CgroupHierarchy& hierarchy, const std::string& path, const host::CpuQuota& quota) {
  const std::int64_t quota_us = quota.quota_ns / base::ns_per_us;
  const std::int64_t period_us = quota.period_ns / base::ns_per_us;
  if (hierarchy.version == 2) {
    return base::write_file(path + "/cpu.max", fmt::format("{} {}", quota_us, period_us));
  }
  if (Status set = base::write_file(path + "/cpu.cfs_period_us", std::to_string(period_us)); !set) {
    return set;
  }
  return base::write_file(path + "/cpu.cfs_quota_us", std::to_string(quota_us));
}

/// The files of a cgroup are those of the controllers that its parent hands down.
Status check_has_quota(const host::CgroupHierarchy& hierarchy, const std::string& path) {
  const std::string file = path + (hierarchy.version == 2 ? "/cpu.max" : "/cpu.cfs_quota_us");
  if (::access(file.c_str(), F_OK) == 0) {
    return base::ok();
  }
  if (hierarchy.version == 2 && ::access((path + "/cpu.weight").c_str(), F_OK) != 0) {
    return Error{"use the CPU controller of", hierarchy.mount_point, "\"cpu\" is not in its cgroup.subtree_control",
                 fmt::format("Enable it: echo +cpu > {}/cgroup.subtree_control", hierarchy.mount_point)};
  }
  return Error{"set", file, "this kernel lacks CPU quotas", "They need CONFIG_CFS_BANDWIDTH."};
}

}  // namespace

std::string QuotaCgroup::path() const {
  return path_in(hierarchy_);
}

std::string QuotaCgroup::name() const {
  return (hierarchy_.root == "/" ? "" : hierarchy_.root) + std::string(cgroup_name);
}

Result<QuotaCgroup> QuotaCgroup::make(const std::optional<host::CpuQuota>& quota) {
  host::CgroupHierarchy hierarchy = host::find_cgroups({}, "cpu");
  if (hierarchy.version == 0) {
    return Error{"find the CPU cgroups", "", hierarchy.reason, "Mount it, such as: mount -t cgroup -o cpu none /sys/fs/cgroup/cpu"};
  }
  if (Status made = make_cgroup(path_in(hierarchy)); !made) {
    return made.error();
  }
  QuotaCgroup cgroup(std::move(hierarchy));
  if (Status has = check_has_quota(cgroup.hierarchy(), cgroup.path()); !has) {
    return has.error();
  }
  if (quota) {
    if (Status set = set_quota(cgroup.hierarchy(), cgroup.path(), *quota); !set) {
      return set.error();
    }
  }
  return cgroup;
}

QuotaCgroup::~QuotaCgroup() {
  // What this cannot remove, the next lab or `down` finds under the same name and removes or reports.
  static_cast<void>(remove());
}

Status QuotaCgroup::remove() {
  return std::exchange(owned_, false) ? remove_cgroup(path()) : base::ok();
}

Result<bool> remove_quota_cgroup() {
  const host::CgroupHierarchy hierarchy = host::find_cgroups({}, "cpu");
  // Without one there can be no cgroup in it. The fault says so.
  if (hierarchy.version == 0 || ::access(path_in(hierarchy).c_str(), F_OK) != 0) {
    return false;
  }
  Status removed = remove_cgroup(path_in(hierarchy));
  return removed ? Result<bool>(true) : removed.error();
}

}  // namespace stallscope::lab::cfs_throttled
