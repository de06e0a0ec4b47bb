// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stallscope::report {

/// One exchange that was answered.
struct RttPoint {
  /// Since 1970.
  std::int64_t sent_ns = 0;
  std::int64_t rtt_ns = 0;
  bool held = false;
};

struct PlottedStall {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t length_ns = 0;
  /// "one receive queue"
  std::string cause;
};

struct RttPlot {
  /// Name of the capture.
  std::string file;
  /// The answer, in a sentence.
  std::string verdict;
  std::vector<RttPoint> points;
  std::vector<PlottedStall> stalls;
  std::int64_t held_count = 0;
};

/// RTT, on a logarithmic scale, against the time of sending: a picture that needs no other file and no script, for light and dark
/// surroundings. Points that would cover each other are drawn once, so that its size has a limit. Pure.
[[nodiscard]] std::string render_rtt_plot(const RttPlot& plot);

}  // namespace stallscope::report
