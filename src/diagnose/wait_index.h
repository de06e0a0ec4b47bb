// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "diagnose/time_window.h"
#include "evidence/records.h"

namespace stallscope::diagnose {

/// Finds the waits that overlap an interval, without looking at all of them.
class WaitIndex {
 public:
  /// Leaves out waits whose times are impossible.
  WaitIndex(const evidence::Evidence& evidence, const TimeWindow& window);

  /// Indices into Evidence::waits of those on `cpu` that share time with [from_ns, to_ns], in order of start.
  [[nodiscard]] std::vector<std::size_t> overlapping(std::int32_t cpu, std::int64_t from_ns, std::int64_t to_ns) const;
  /// The same on any CPU.
  [[nodiscard]] std::vector<std::size_t> overlapping(std::int64_t from_ns, std::int64_t to_ns) const;
  /// All usable waits in order of start.
  [[nodiscard]] std::vector<std::size_t> all() const;
  [[nodiscard]] std::int64_t unusable_count() const { return unusable_count_; }

 private:
  struct Entry {
    std::int64_t start_ns = 0;
    std::int64_t end_ns = 0;
    /// Latest end of this entry and of all before it: where a search backwards may stop.
    std::int64_t latest_end_ns = 0;
    std::size_t wait = 0;
  };
  using Entries = std::vector<Entry>;
  static void order(Entries& entries);
  static std::vector<std::size_t> find(const Entries& entries, std::int64_t from_ns, std::int64_t to_ns);

  Entries all_;
  std::map<std::int32_t, Entries> by_cpu_;
  std::int64_t unusable_count_ = 0;
};

}  // namespace stallscope::diagnose
