// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "diagnose/diagnosis.h"
#include "evidence/records.h"

namespace stallscope::report {

/// Of the stalls of a report, so many of the longest are shown unless all are asked for: more than fit on a screen is not read.
inline constexpr std::size_t shown_stall_count = 10;

struct TextOptions {
  /// Use ANSI escape sequences. The caller decides: a terminal, and NO_COLOR not set.
  bool colour = false;
  /// Display columns; at least 60 are used.
  std::size_t width = 80;
  /// Every stall, every function of a stack, and who had the CPU in order.
  bool all = false;
  /// Where the bundle is, for the last line. Empty: it is not kept.
  std::string bundle_path;
};

/// The report a person reads, each line ended by a line feed. Pure. No line exceeds the width, except one that holds nothing but a
/// path or command to be copied. Names from kernel and network are made printable.
[[nodiscard]] std::string render_text(const evidence::Evidence& evidence, const diagnose::Diagnosis& diagnosis,
                                      const TextOptions& options);

}  // namespace stallscope::report
