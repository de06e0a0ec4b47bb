// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"
#include "cli/commands.h"
#include "lab/faults/catalogue.h"
#include "lab/session.h"
#include "lab/stop_signals.h"
#include "lab/topology.h"
#include "lab/zombies.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;

struct LabArguments {
  std::string fault;
  int zombies_count = 50'000;
  int cpu = 0;
  int receive_cpu = -1;
  std::string period = "1s";
  std::string duration = "20s";
  bool healthy = false;
};

void tell(std::string_view line) {
  fmt::print(stderr, "lab: {}\n", line);
}

int report(const Status& status) {
  if (status) {
    return exit_clean;
  }
  fmt::print(stderr, "stallscope: {}\n", status.error().message());
  return exit_error;
}

Result<lab::RunOptions> check_run(const LabArguments& arguments) {
  constexpr std::int64_t shortest_ns = 10 * base::ns_per_ms;
  constexpr std::int64_t longest_ns = 3600 * base::ns_per_s;
  if (arguments.zombies_count < 1 || arguments.zombies_count > lab::max_zombies_count) {
    return base::Error{"use", fmt::format("--zombies {}", arguments.zombies_count),
                       fmt::format("must be from 1 to {}", base::format_count(lab::max_zombies_count)),
                       "A memory cgroup ID has 16 bits, and the machine needs some of them."};
  }
  const Result<std::int64_t> period = base::parse_duration("--period", arguments.period, shortest_ns, longest_ns);
  if (!period) {
    return period.error();
  }
  const Result<std::int64_t> duration = base::parse_duration("--for", arguments.duration, shortest_ns, longest_ns);
  if (!duration) {
    return duration.error();
  }
  if (Status online = lab::check_cpu_online("--cpu", arguments.cpu); !online) {
    return online.error();
  }
  const int receive_cpu = arguments.receive_cpu < 0 ? arguments.cpu : arguments.receive_cpu;
  if (Status online = lab::check_cpu_online("--receive-cpu", receive_cpu); !online) {
    return online.error();
  }
  return lab::RunOptions{.zombies_count = arguments.zombies_count,
                         .cpu = arguments.cpu,
                         .receive_cpu = receive_cpu,
                         .period_ns = *period,
                         .duration_ns = *duration,
                         .healthy = arguments.healthy};
}

Status run(const LabArguments& arguments) {
  const Result<const lab::Fault*> fault = lab::find_fault(arguments.fault);
  if (!fault) {
    return fault.error();
  }
  const Result<lab::RunOptions> options = check_run(arguments);
  if (!options) {
    return options.error();
  }
  Result<lab::StopSignals> stop = lab::StopSignals::block();
  if (!stop) {
    return stop.error();
  }
  return lab::run_fault(**fault, *options, *stop, {STDOUT_FILENO, tell});
}

/// `up` and `down` take no longer than a bounded clean-up, and half of either would have to be cleaned up again: a stop signal
/// takes effect when they are done.
Status undisturbed(const std::function<Status()>& action) {
  const Result<lab::StopSignals> stop = lab::StopSignals::block();
  return stop ? action() : Status(stop.error());
}

Status up(int receive_cpu) {
  if (Status online = lab::check_cpu_online("--receive-cpu", receive_cpu); !online) {
    return online;
  }
  Status made = undisturbed([&] { return lab::bring_up(receive_cpu, tell); });
  if (made) {
    tell(fmt::format("up: probe {} from the namespace {} (ip netns exec {} ping {})", lab::node_address, lab::client_netns,
                     lab::client_netns, lab::node_address));
  }
  return made;
}

void add_run(CLI::App& lab, const std::shared_ptr<LabArguments>& arguments, int& exit_status) {
  CLI::App* command = lab.add_subcommand("run", "Cause a fault and print the ground truth of each stall as JSON lines");
  command->add_option("FAULT", arguments->fault, "What to cause; `stallscope lab list` names the faults")->required();
  command->add_option("--zombies", arguments->zombies_count, "Zombie memory cgroups; each adds about 2 us to a stall")
      ->capture_default_str();
  command->add_option("--cpu", arguments->cpu, "The CPU that is held up")->capture_default_str();
  command->add_option("--receive-cpu", arguments->receive_cpu, "The CPU that receives on the node (default: that of --cpu)");
  command->add_option("--period", arguments->period, "Time from one stall to the next")->capture_default_str();
  command->add_option("--for", arguments->duration, "How long to go on; Ctrl-C ends it earlier")->capture_default_str();
  command->add_flag("--healthy", arguments->healthy, "The control: the same zombies and reads, with nothing to flush");
  command->footer(
      "The topology is made if it is not up. Whatever ends the run, all it made is removed.\n"
      "\n"
      "EXAMPLES\n"
      "  Stall CPU 0 for about 100 ms once a second, for 20 s:\n"
      "    sudo stallscope lab run memcg-stat-flush\n"
      "  Stall CPU 1 for about 20 ms five times a second while CPU 0 receives:\n"
      "    sudo stallscope lab run memcg-stat-flush --zombies 10000 --cpu 1 --receive-cpu 0 --period 200ms\n"
      "  The healthy control:\n"
      "    sudo stallscope lab run memcg-stat-flush --healthy");
  command->callback([arguments, &exit_status] { exit_status = report(run(*arguments)); });
}

void add_list(CLI::App& lab, int& exit_status) {
  CLI::App* command = lab.add_subcommand("list", "List the faults the lab can cause");
  command->footer("EXAMPLES\n  stallscope lab list");
  command->callback([&exit_status] {
    for (const lab::Fault& fault : lab::faults()) {
      fmt::print("{:<20}{}\n", fault.id, fault.summary);
    }
    exit_status = exit_clean;
  });
}

}  // namespace

void add_lab_command(CLI::App& app, int& exit_status) {
  const auto arguments = std::make_shared<LabArguments>();
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
  const auto up_receive_cpu = std::make_shared<int>(0);
  up_command->add_option("--receive-cpu", *up_receive_cpu, "The CPU that receives on the node")->capture_default_str();
  up_command->footer("EXAMPLES\n  sudo stallscope lab up\n  sudo stallscope lab up --receive-cpu 1");
  up_command->callback([up_receive_cpu, &exit_status] { exit_status = report(up(*up_receive_cpu)); });

  add_run(*lab, arguments, exit_status);

  CLI::App* down_command = lab->add_subcommand("down", "Remove all of the lab, also what a killed run has left");
  down_command->footer("EXAMPLES\n  sudo stallscope lab down");
  down_command->callback([&exit_status] { exit_status = report(undisturbed([] { return lab::take_down(tell); })); });

  add_list(*lab, exit_status);
}

}  // namespace stallscope::cli
