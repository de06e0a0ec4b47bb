// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/doctor_report.h"
#include "cli/terminal.h"
#include "host/file_tree.h"
#include "host/readiness.h"

namespace stallscope::cli {
namespace {

struct DoctorOptions {
  bool json = false;
  std::string root;
};

int run_doctor(const DoctorOptions& options) {
  struct stat about {};
  if (!options.root.empty() && (::stat((options.root + "/proc").c_str(), &about) != 0 || !S_ISDIR(about.st_mode))) {
    print_error({"describe the host under", options.root, "it has no directory proc",
                 "--root needs a directory that holds the host's proc and sys, such as /host in a container."});
    return exit_error;
  }
  const host::HostFacts facts = host::gather_facts(host::FileTree(options.root));
  const host::Readiness readiness = host::assess(facts);
  print_out(options.json ? doctor_json(facts, readiness)
                         : doctor_text(facts, readiness, std::min<std::size_t>(describe_terminal(STDOUT_FILENO).width, 100)));
  return readiness.verdict == host::Verdict::ready ? exit_clean : exit_findings;
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_status) {
  const auto options = std::make_shared<DoctorOptions>();
  CLI::App* const doctor = app.add_subcommand("doctor", "Tell what this host can and cannot observe, and what each gap costs");
  doctor->add_flag("--json", options->json, "Print JSON");
  doctor
      ->add_option(
          "--root", options->root,
          "Describe the host whose proc and sys are in this directory, instead of this one; what needs a system call on it "
          "is then unknown")
      ->type_name("DIR");
  doctor->footer(
      "EXAMPLES\n"
      "  Can this host be diagnosed? 0: yes, 1: in part or not at all\n"
      "    sudo stallscope doctor\n"
      "  Which facilities does this kernel lack?\n"
      "    stallscope doctor --json | jq '.checks[] | select(.state == \"absent\")'\n"
      "  From a container that mounts the node's root at /host\n"
      "    stallscope doctor --root /host");
  doctor->callback([&exit_status, options] { exit_status = run_doctor(*options); });
}

}  // namespace stallscope::cli
