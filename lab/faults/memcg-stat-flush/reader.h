// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "lab/child_process.h"

namespace stallscope::lab {

struct ReaderPlan {
  /// The cgroup the reader joins, and the file it reads.
  std::string cgroup_path;
  std::string stat_path;
  std::string pin_path;
  int zombies_count = 0;
  std::int64_t kernel_total_count = 0;
  int cpu = 0;
  std::int64_t period_ns = 0;
  std::int64_t duration_ns = 0;
  /// The control: the same reads, but no page is touched.
  bool healthy = false;
};

/// The body of the reader process: joins its cgroup, pins itself to its CPU and once a period touches the page of every zombie,
/// which leaves one statistics update pending for each, then reads memory.stat, which flushes them with hard IRQs off. Reports
/// the ready line and one line per read. Before the ready line it makes a few such reads, to know how long one takes. Ends after
/// the duration or, in order, on a stop signal; a read that has begun is always reported.
[[nodiscard]] base::Status run_reader(const ReaderPlan& plan, const ReportPipe& reports);

}  // namespace stallscope::lab
