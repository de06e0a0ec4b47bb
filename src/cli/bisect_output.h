// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bisect/stall_tracker.h"
#include "bisect/verdict.h"
#include "evidence/records.h"

namespace stallscope::cli {

/// What a comparison of rungs came to.
struct BisectReport {
  bisect::Path path;
  bisect::Verdict verdict;
  std::vector<bisect::RungCounts> rungs;
  bisect::RungSet silent;
  bisect::LossComparison loss;
  std::int64_t interval_ns = 0;
  std::int64_t late_after_ns = 0;
  std::int64_t own_stall_count = 0;
  std::int64_t own_stalled_ns = 0;
  std::int64_t worst_own_stall_ns = 0;
  std::int64_t stalls_set_aside = 0;
  bool interrupted = false;
  /// What the system or a host on the way said of probes, with how often.
  std::vector<std::string> errors;
  std::vector<evidence::GapRecord> gaps;
};

/// The one word for it, as in the JSON.
enum class BisectOutcome : std::uint8_t { no_stall, found, no_such_layer, undecided, sender, no_answers };
[[nodiscard]] BisectOutcome outcome_of(const BisectReport& report);
/// Whether there were stalls or lost probes.
[[nodiscard]] bool anything_wrong(const BisectReport& report);

/// The answer first, then the rungs, then what is exonerated and by what.
[[nodiscard]] std::string render_bisect_text(const BisectReport& report);
/// One object, as docs/json.md says.
[[nodiscard]] std::string render_bisect_json(const BisectReport& report);
/// "12 s of 60 s: 8 stalls; late in: service 8/8, node by ICMP 0/8", at most `width` columns.
[[nodiscard]] std::string bisect_progress(const bisect::Path& path, const bisect::Verdict& verdict, std::int64_t elapsed_ns,
                                          std::int64_t duration_ns, std::size_t width);

}  // namespace stallscope::cli
