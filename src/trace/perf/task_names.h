// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "host/file_tree.h"
#include "trace/wait_record.h"

namespace stallscope::trace::perf {

/// Who a thread is, from /proc, shortly after it was seen. A thread that has ended by then keeps the name it took while watched, if
/// it took one (programs do when they start), and its cgroup is unknown.
class TaskNames {
 public:
  explicit TaskNames(host::FileTree files = {}) : files_(std::move(files)) {}

  /// Fills in name, cgroup and flags of task.pid.
  void describe(trace_task& task, std::uint32_t cpu);
  void renamed(std::int32_t tid, const std::string& comm);
  /// What was read is read again: thread ids are used again in time.
  void forget_read() { read_.clear(); }

 private:
  struct Names {
    std::string comm;
    std::string cgroup;
    bool kernel_thread = false;
    bool cgroup_known = false;
  };

  [[nodiscard]] Names read(std::int32_t tid) const;

  host::FileTree files_;
  std::map<std::int32_t, Names> read_;
  std::map<std::int32_t, std::string> renamed_;
};

/// The path in the memory controller's hierarchy, or in the unified one, from the text of /proc/PID/cgroup. Empty for none.
[[nodiscard]] std::string memory_cgroup_of(std::string_view text);

}  // namespace stallscope::trace::perf
