// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace stallscope::host {

/// Runs a program of the system directories (/usr/sbin, /usr/bin, /sbin, /bin: PATH is not trusted) with an argument vector and
/// no shell, waits until it ends and returns its standard output. An exit status other than 0 is an error whose reason is what
/// the program wrote to its standard error. It runs in a process group of its own: a Ctrl-C at the terminal ends the caller
/// in order, not the program that cleans up for it.
[[nodiscard]] base::Result<std::string> run_program(const std::vector<std::string>& arguments);

}  // namespace stallscope::host
