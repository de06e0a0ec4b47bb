// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace stallscope::cli {

/// Like grep: nothing wrong, stalls or findings, an error.
enum ExitStatus : int { exit_clean = 0, exit_findings = 1, exit_error = 2 };

// Each adds its subcommand, with its options and the EXAMPLES of its help, to `app`. When the subcommand runs it stores its exit
// status. One file per subcommand; a file may call the rooms, never another subcommand.
void add_diagnose_command(CLI::App& app, int& exit_status);
void add_report_command(CLI::App& app, int& exit_status);
void add_probe_command(CLI::App& app, int& exit_status);
void add_bisect_command(CLI::App& app, int& exit_status);
void add_capture_command(CLI::App& app, int& exit_status);
void add_queues_command(CLI::App& app, int& exit_status);
void add_respond_command(CLI::App& app, int& exit_status);
void add_census_command(CLI::App& app, int& exit_status);
void add_remedy_command(CLI::App& app, int& exit_status);
void add_compare_command(CLI::App& app, int& exit_status);
void add_doctor_command(CLI::App& app, int& exit_status);
void add_lab_command(CLI::App& app, int& exit_status);

}  // namespace stallscope::cli
