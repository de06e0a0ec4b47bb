// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "diagnose/diagnosis.h"
#include "evidence/records.h"

namespace stallscope::report {

/// Raised when a member changes its meaning or goes away; new members do not raise it. docs/json.md describes this version.
inline constexpr int json_schema_version = 1;

/// How well what was recorded at two ends fits together.
struct TwoEndsFacts {
  /// Probes whose packet the node saw, of those sent while it recorded.
  std::int64_t seen_count = 0;
  std::int64_t probe_count = 0;
  /// The node's clock against the prober's.
  std::int64_t clock_uncertainty_ns = 0;
  double clock_drift_ppm = 0;
};

/// The whole report as one JSON object (RFC 8259, ASCII only), ended by a line feed. Pure. Bytes of names that are not UTF-8 become
/// U+FFFD.
[[nodiscard]] std::string render_json(const evidence::Evidence& evidence, const diagnose::Diagnosis& diagnosis,
                                      const std::optional<TwoEndsFacts>& two_ends = std::nullopt);

}  // namespace stallscope::report
