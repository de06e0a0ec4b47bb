// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "base/result.h"
#include "cli/commands.h"
#include "cli/lab_matrix_command.h"
#include "cli/lab_run_command.h"
#include "cli/lab_zombies_command.h"
#include "lab/faults/catalogue.h"
#include "lab/pod_network.h"
#include "lab/session.h"
#include "lab/stop_signals.h"
#include "lab/topology.h"

namespace stallscope::cli {
namespace {

using base::Status;

/// `up` and `down` take no longer than a bounded clean-up, and half of either would have to be cleaned up again: a stop signal
/// takes effect when they are done.
Status undisturbed(const std::function<Status()>& action) {
  const base::Result<lab::StopSignals> stop = lab::StopSignals::block();
  return stop ? action() : Status(stop.error());
}

struct UpOptions {
  int receive_cpu = 0;
  /// Empty: no network of pods.
  std::string overlay;
};

Status up(const UpOptions& options) {
  const int receive_cpu = options.receive_cpu;
  if (Status online = lab::check_cpu_online("--receive-cpu", receive_cpu); !online) {
    return online;
  }
  Status made = undisturbed([&] { return lab::bring_up(receive_cpu, lab::overlay_from_id(options.overlay), tell_lab_progress); });
  if (made) {
    tell_lab_progress(fmt::format("up: probe {} from the namespace {} (ip netns exec {} ping {})", lab::node_address,
                                  lab::client_netns, lab::client_netns, lab::node_address));
  }
  if (made && !options.overlay.empty()) {
    tell_lab_progress(
        fmt::format("a pod is at {} behind the tunnel; TCP to {}:{} is translated to its port {}, which nobody serves yet",
                    lab::pod_address, lab::node_address, lab::node_port, lab::pod_port));
  }
  return made;
}

void add_list(CLI::App& lab, int& exit_status) {
  CLI::App* command = lab.add_subcommand("list", "List the faults the lab can cause");
  command->footer("EXAMPLES\n  stallscope lab list");
  command->callback([&exit_status] {
    std::size_t width = 0;
    for (const lab::Fault* fault : lab::faults()) {
      width = std::max(width, fault->id.size());
    }
    for (const lab::Fault* fault : lab::faults()) {
      fmt::print("{:<{}}  {}\n", fault->id, width, fault->summary);
    }
    exit_status = exit_clean;
  });
}

}  // namespace

void add_lab_command(CLI::App& app, int& exit_status) {
  CLI::App* lab = app.add_subcommand("lab", "Cause faults for real, in network namespaces of its own, with a healthy control");
  lab->require_subcommand(1);
  lab->footer(
      "Works in namespaces and cgroups named stallscope-*, one lab at a time. Needs root.\n"
      "\n"
      "EXAMPLES\n"
      "  Cause the stalls of the zombie memory cgroups, and find them from a second terminal:\n"
      "    sudo stallscope lab run memcg-stat-flush --for 1m\n"
      "  Make only the network, look around in it, and remove it:\n"
      "    sudo stallscope lab up\n"
      "    sudo ip netns exec stallscope-client ping 10.0.1.2\n"
      "    sudo stallscope lab down");

  CLI::App* up_command = lab->add_subcommand("up", "Make the network of the lab and leave it until `down`");
  const auto up_options = std::make_shared<UpOptions>();
  up_command->add_option("--receive-cpu", up_options->receive_cpu, "The CPU that receives on the node")->capture_default_str();
  up_command
      ->add_option("--overlay", up_options->overlay,
                   "Add a network of pods that this tunnel carries, and a NodePort: something to bisect")
      ->check(CLI::IsMember(std::set<std::string>{std::string(lab::overlay_id(lab::Overlay::vxlan)),
                                                  std::string(lab::overlay_id(lab::Overlay::ipip))}));
  up_command->footer(
      "EXAMPLES\n"
      "  sudo stallscope lab up\n"
      "  sudo stallscope lab up --receive-cpu 1\n"
      "  A path with every layer, and which of them makes packets wait:\n"
      "    sudo stallscope lab up --overlay vxlan\n"
      "    sudo ip netns exec stallscope-pod python3 -m http.server 8080 &\n"
      "    sudo ip netns exec stallscope-node stallscope bisect discover \\\n"
      "      --http 10.0.1.2:30080 > path.yaml\n"
      "    sudo stallscope bisect path.yaml --netns stallscope-client");
  up_command->callback([up_options, &exit_status] { exit_status = report_lab(up(*up_options)); });

  add_lab_run(*lab, exit_status);
  add_lab_matrix(*lab, exit_status);
  add_lab_zombies(*lab, exit_status);

  CLI::App* down_command = lab->add_subcommand("down", "Remove all of the lab, also what a killed run has left");
  down_command->footer("EXAMPLES\n  sudo stallscope lab down");
  down_command->callback(
      [&exit_status] { exit_status = report_lab(undisturbed([] { return lab::take_down(tell_lab_progress); })); });

  add_list(*lab, exit_status);
}

}  // namespace stallscope::cli
