// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string_view>

#include "base/result.h"

namespace stallscope::cli {

/// Adds `run` to the command `lab`, and to that one command per fault, with the options of the fault's own.
void add_lab_run(CLI::App& lab, int& exit_status);

/// One line of progress, to standard error.
void tell_lab_progress(std::string_view line);
/// The exit status for the outcome, after telling an error.
[[nodiscard]] int report_lab(const base::Status& status);

}  // namespace stallscope::cli
