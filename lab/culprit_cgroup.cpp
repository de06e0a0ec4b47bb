// SPDX-License-Identifier: Apache-2.0
#include "lab/culprit_cgroup.h"

#include <unistd.h>

#include "base/files.h"
#include "lab/cgroup_directory.h"

namespace stallscope::lab {
namespace {

using base::Result;
using base::Status;

Status remove_cgroups(const MemoryHierarchy& hierarchy) {
  if (hierarchy.version == CgroupVersion::v1) {
    // What the culprit first read on its behalf would keep the cgroup as a zombie. Only v1 can be asked to let go of it as a
    // whole; where that fails there is one zombie more until the pages are reclaimed.
    static_cast<void>(base::write_file(hierarchy.culprit_cgroup() + "/memory.force_empty", "0"));
  }
  if (Status removed = remove_cgroup(hierarchy.culprit_cgroup()); !removed) {
    return removed;
  }
  return remove_cgroup(hierarchy.lab_cgroup());
}

}  // namespace

Result<CulpritCgroup> CulpritCgroup::make() {
  Result<MemoryHierarchy> hierarchy = find_memory_hierarchy();
  if (!hierarchy) {
    return hierarchy.error();
  }
  if (Status made = make_cgroup(hierarchy->lab_cgroup()); !made) {
    return made.error();
  }
  CulpritCgroup cgroup(std::move(*hierarchy));
  if (Status made = make_cgroup(cgroup.path()); !made) {
    return made.error();
  }
  return cgroup;
}

CulpritCgroup::~CulpritCgroup() {
  // What this cannot remove, the next lab or `down` finds under the same names and removes or reports.
  static_cast<void>(remove());
}

Status CulpritCgroup::remove() {
  return std::exchange(owned_, false) ? remove_cgroups(hierarchy_) : base::ok();
}

Result<bool> remove_culprit_cgroup() {
  const Result<MemoryHierarchy> hierarchy = find_memory_hierarchy();
  // Without one there can be no cgroup in it. The fault that needs one says so.
  if (!hierarchy || ::access(hierarchy->culprit_cgroup().c_str(), F_OK) != 0) {
    return false;
  }
  Status removed = remove_cgroups(*hierarchy);
  return removed ? Result<bool>(true) : removed.error();
}

}  // namespace stallscope::lab
