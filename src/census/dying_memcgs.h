// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace stallscope::census {

/// For tests: makes memory cgroups, has each charge one page of a file and removes them, so that the pages keep them dying. Works
/// in a cgroup of its own below the root, on cgroup v1 and v2; needs root. The calling thread stays on one CPU while this lives.
/// Every failure throws, which fails the test that uses it.
class DyingMemcgs {
 public:
  /// Removes what a killed test left behind.
  DyingMemcgs();
  /// Waits until the kernel has let go of all of them, so the files that pin them must go first; otherwise it fails the test after
  /// 30 s.
  ~DyingMemcgs();
  DyingMemcgs(const DyingMemcgs&) = delete;
  DyingMemcgs& operator=(const DyingMemcgs&) = delete;
  DyingMemcgs(DyingMemcgs&&) = delete;
  DyingMemcgs& operator=(DyingMemcgs&&) = delete;

  /// Adds `count`, pinned by as many new pages of the file, and moves those pages from the CPU's batch to their LRU lists.
  void pin(int file, int count);
  /// Makes a live cgroup with one process, which has charged these pages to it and sleeps until this object goes. Returns the
  /// directory. Once.
  [[nodiscard]] std::string charge_live(int file, int file_pages, int anonymous_pages);
  /// Dying descendants of this object's cgroup by the BPF walk.
  [[nodiscard]] std::int64_t walked_count() const;

 private:
  void make_and_remove(int file, int count) const;
  void end_live();

  std::string original_cgroup_;
  std::string cgroup_;
  int made_count_ = 0;
  std::int32_t live_process_ = 0;
};

}  // namespace stallscope::census
