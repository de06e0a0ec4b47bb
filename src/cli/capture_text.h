// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/capture_conclusion.h"

// What `stallscope capture` prints beside the report. Pure; each line is ended by a line feed.
namespace stallscope::cli {

/// What was read, and of what.
[[nodiscard]] std::string read_text(const ReadCapture& read);
/// Where late exchanges waited, by two captures. Empty for one.
[[nodiscard]] std::string places_sentence(const std::vector<ReadCapture>& reads, const CaptureOutcome& outcome);
/// How long late exchanges were on their way through a host that forwards them. Empty where none was seen more than once.
[[nodiscard]] std::string passages_sentence(const PassageSums& passages);
struct QueuesTextOptions {
  std::size_t width = 80;
  /// Every host, not those with most late packets.
  bool all = false;
};
/// Which flows share a receive queue, and with a key which one it is, or why none is named. Empty where nothing was asked and
/// nothing learned.
[[nodiscard]] std::string queues_text(const CaptureOutcome& outcome, const QueueQuestion& question,
                                      const QueuesTextOptions& options);
/// Services with late responses, and whether application or packets were late. Empty where there is none.
[[nodiscard]] std::string responses_text(const capture::Findings& findings, bool all);
/// Bursts after silence. Empty where there is none.
[[nodiscard]] std::string releases_text(const capture::Findings& findings, bool all);
/// Everything as one object (docs/json.md).
[[nodiscard]] std::string capture_json(const std::vector<ReadCapture>& reads, const CaptureOutcome& outcome);

}  // namespace stallscope::cli
