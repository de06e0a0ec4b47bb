// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdio>
#include <exception>

#include "cli/app.h"
#include "cli/commands.h"
#include "cli/terminal.h"

int main(int argc, char** argv) {
  using namespace stallscope;
  // Ignored, so that a reader of the output that goes away (`| head`) neither ends a recording nor keeps a lab from being taken
  // down.
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): cannot fail for a valid signal
  int exit_status = cli::exit_error;
  try {
    exit_status = cli::run(argc, argv);
  } catch (const std::exception& error) {
    // Nothing of ours throws; memory can run out, and a library can surprise us.
    cli::print_error({"go on", "", error.what(), "This is a defect of stallscope; please report it with the command line."});
    return cli::exit_error;
  }
  if (const base::Status finished = cli::finish_output(); !finished) {
    cli::print_error(finished.error());
    return cli::exit_error;
  }
  return exit_status;
}
