// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "base/result.h"
#include "lab/memory_hierarchy.h"

namespace stallscope::lab {

/// Owns the memory cgroup a culprit runs in, stallscope-lab/culprit, so that a report has a cgroup to name.
class CulpritCgroup {
 public:
  [[nodiscard]] static base::Result<CulpritCgroup> make();
  ~CulpritCgroup();
  CulpritCgroup(CulpritCgroup&& other) noexcept
      : hierarchy_(std::move(other.hierarchy_)), owned_(std::exchange(other.owned_, false)) {}
  CulpritCgroup& operator=(CulpritCgroup&&) = delete;
  CulpritCgroup(const CulpritCgroup&) = delete;
  CulpritCgroup& operator=(const CulpritCgroup&) = delete;

  [[nodiscard]] std::string path() const { return hierarchy_.culprit_cgroup(); }
  [[nodiscard]] base::Status remove();

 private:
  explicit CulpritCgroup(MemoryHierarchy hierarchy) : hierarchy_(std::move(hierarchy)) {}

  MemoryHierarchy hierarchy_;
  bool owned_ = true;
};

/// Removes what a killed run left of it; says whether there was anything.
[[nodiscard]] base::Result<bool> remove_culprit_cgroup();

}  // namespace stallscope::lab
