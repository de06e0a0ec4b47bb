// SPDX-License-Identifier: Apache-2.0
#include "cli/node_options.h"

namespace stallscope::cli {

std::array<CLI::Option*, 3> add_node_options(CLI::App& command, NodeAccess& access) {
  return {
      command.add_option("--node-program", access.program, "How the node calls stallscope")->capture_default_str(),
      command.add_flag("--node-copy", access.copy, "Send this very program to the node, and remove it afterwards"),
      command.add_flag("--node-sudo", access.sudo, "Run it on the node by sudo, which must not ask for a password"),
  };
}

}  // namespace stallscope::cli
