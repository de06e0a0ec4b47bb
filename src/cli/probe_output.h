// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "probe/distortions.h"
#include "probe/prober.h"
#include "probe/score_board.h"

// What `stallscope probe` prints. Pure: text in, text out.
namespace stallscope::cli {

/// Everything that is known when a run of probes has ended.
struct ProbeReport {
  const std::vector<probe::ProbeTarget>& targets;
  const probe::ScoreBoard& board;
  const probe::ProberSummary& summary;
  const std::vector<evidence::GapRecord>& gaps;
  const std::vector<probe::Distortion>& distortions;
  std::int64_t late_after_ns = 0;
  std::int64_t interval_ns = 0;
  std::int64_t window_bytes = 0;
};

struct ProbeTextOptions {
  /// List every target instead of those that did worst.
  bool all = false;
  bool histogram = false;
};

[[nodiscard]] std::string render_probe_text(const ProbeReport& report, const ProbeTextOptions& options);
/// JSON lines: one for each target, then the summary (docs/json.md).
[[nodiscard]] std::string render_probe_json(const ProbeReport& report);

/// One probe as a line of text, like hping3's, or of JSON. `http` may be null.
[[nodiscard]] std::string probe_line_text(const probe::ProbeTarget& target, const evidence::FlowRecord& flow,
                                          const evidence::ProbeRecord& probe, probe::ProbeFateKind fate,
                                          const evidence::HttpRecord* http);
[[nodiscard]] std::string probe_line_json(const evidence::FlowRecord& flow, const evidence::ProbeRecord& probe,
                                          probe::ProbeFateKind fate, const evidence::HttpRecord* http);
/// The line that a person watching sees rewritten.
[[nodiscard]] std::string progress_line(const probe::ScoreBoard& board, std::int64_t elapsed_ns, std::int64_t planned_ns);

/// Whether anything was late or lost.
[[nodiscard]] bool anything_wrong(const ProbeReport& report);

}  // namespace stallscope::cli
