// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace stallscope::cli {

struct ReportOutputOptions {
  bool json = false;
  /// Every stall, not only the longest.
  bool all = false;
  /// The table of late probes and their packets in place of the report.
  bool packets = false;
};

/// Reads a bundle, diagnoses it and prints the report to standard output, errors to standard error. Returns the exit status.
[[nodiscard]] int report_bundle(const std::string& path, const ReportOutputOptions& options);

/// The same of what was recorded at both ends: the prober's bundle, and that of the node it probed.
[[nodiscard]] int report_two_ends(const std::string& prober_path, const std::string& node_path, const ReportOutputOptions& options);

}  // namespace stallscope::cli
