// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "diagnose/diagnosis.h"
#include "evidence/records.h"

namespace stallscope::report {

/// Raised when a member changes its meaning or goes away; new members do not raise it. docs/json.md describes this version.
inline constexpr int json_schema_version = 1;

/// The whole report as one JSON object (RFC 8259, ASCII only), ended by a line feed. Pure. Bytes of names that are not UTF-8 become
/// U+FFFD.
[[nodiscard]] std::string render_json(const evidence::Evidence& evidence, const diagnose::Diagnosis& diagnosis);

}  // namespace stallscope::report
