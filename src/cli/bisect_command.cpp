// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <netinet/in.h>

#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/units.h"
#include "bisect/path_file.h"
#include "cli/bisect_discover.h"
#include "cli/bisect_run.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/node_options.h"
#include "cli/probe_targets.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

constexpr std::int64_t shortest_interval_ns = base::ns_per_ms;
constexpr std::int64_t longest_interval_ns = 10 * base::ns_per_s;

struct BisectCommandOptions {
  std::string path_file;
  std::vector<std::string> rungs;
  std::string interval = "10ms";
  std::string duration = "60s";
  std::string late = "5ms";
  std::string timeout = "1s";
  std::string netns;
  int cpu = -1;
  bool json = false;
  /// Of hosts that rungs come from; without their names.
  NodeAccess node_access;
};

base::Result<bisect::Path> read_path(const BisectCommandOptions& given) {
  bisect::Path path;
  if (!given.path_file.empty()) {
    const base::Result<std::string> text = base::read_file(given.path_file);
    if (!text) {
      return text.error();
    }
    base::Result<bisect::Path> read = bisect::parse_path_file(*text, given.path_file);
    if (!read) {
      return read.error();
    }
    path = *std::move(read);
  }
  for (const std::string& text : given.rungs) {
    base::Result<bisect::Rung> rung = bisect::parse_rung(text);
    if (!rung) {
      return rung.error();
    }
    path.rungs.push_back(*std::move(rung));
  }
  if (path.rungs.empty()) {
    return base::Error{"compare", "", "no path is given",
                       "Give a file, or rungs as in: --rung 'pod=icmp://10.0.2.2 via overlay,node'. "
                       "'stallscope bisect discover 10.0.1.2:30080' writes a file."};
  }
  if (const base::Status checked = bisect::check(path); !checked) {
    return checked.error();
  }
  return bisect::with_control(std::move(path));
}

base::Status read_times(const BisectCommandOptions& given, BisectRunOptions& options) {
  struct Time {
    const char* name;
    const std::string& text;
    std::int64_t minimum_ns;
    std::int64_t maximum_ns;
    std::int64_t& value_ns;
  };
  for (const Time& time :
       {Time{"--interval", given.interval, shortest_interval_ns, longest_interval_ns, options.prober.interval_ns},
        Time{"--for", given.duration, base::ns_per_s, probe::ProberOptions::longest_duration_ns, options.prober.duration_ns},
        Time{"--late", given.late, base::ns_per_ms, base::ns_per_s, options.late_after_ns},
        Time{"--timeout", given.timeout, 10 * base::ns_per_ms, probe::ProberOptions::longest_timeout_ns,
             options.prober.timeout_ns}}) {
    const base::Result<std::int64_t> parsed = base::parse_duration(time.name, time.text, time.minimum_ns, time.maximum_ns);
    if (!parsed) {
      return parsed.error();
    }
    time.value_ns = *parsed;
  }
  return base::ok();
}

/// Has this host probe it, or the one it comes from.
base::Status add_rung(const BisectCommandOptions& given, std::size_t index, BisectRunOptions& options) {
  const bisect::Rung& rung = options.path.rungs[index];
  const auto of_rung = [&](base::Error error) {
    error.object += fmt::format(" (rung '{}')", rung.name);
    return error;
  };
  if (!rung.from.empty()) {
    const base::Result<std::string> host = parse_node("from", rung.from);
    if (!host) {
      return of_rung(host.error());
    }
    NodeAccess access = given.node_access;
    access.host = *host;
    // It begins before this host's probers and ends when they do, whatever becomes of the connection.
    constexpr std::int64_t longer_ns = 30 * base::ns_per_s;
    options.far_rungs.push_back({.rung = index,
                                 .node = std::move(access),
                                 .prober = {.target = rung.target,
                                            .interval_ns = options.prober.interval_ns,
                                            .duration_ns = options.prober.duration_ns + longer_ns,
                                            .timeout_ns = options.prober.timeout_ns}});
    return base::ok();
  }
  base::Result<std::vector<probe::ProbeTarget>> target = resolve_targets({rung.target}, {}, AF_UNSPEC);
  if (!target) {
    return of_rung(target.error());
  }
  options.prober.targets.push_back(std::move(target->front()));
  options.rung_of_target.push_back(index);
  return base::ok();
}

base::Result<BisectRunOptions> run_options(const BisectCommandOptions& given) {
  BisectRunOptions options;
  if (const base::Status times = read_times(given, options); !times) {
    return times.error();
  }
  base::Result<bisect::Path> path = read_path(given);
  if (!path) {
    return path.error();
  }
  options.path = *std::move(path);
  for (std::size_t index = 0; index < options.path.rungs.size(); ++index) {
    if (const base::Status added = add_rung(given, index, options); !added) {
      return added.error();
    }
  }
  options.prober.netns = given.netns;
  if (given.cpu >= 0) {
    options.prober.cpu = given.cpu;
  }
  return options;
}

int bisect_command(const BisectCommandOptions& given) {
  const base::Result<BisectRunOptions> options = run_options(given);
  if (!options) {
    print_error(options.error());
    return exit_error;
  }
  const InterruptGuard interrupts;
  const base::Result<BisectReport> report = run_bisect(*options);
  if (!report) {
    print_error(report.error());
    return exit_error;
  }
  print_out(given.json ? render_bisect_json(*report) : render_bisect_text(*report));
  if (const base::Status finished = finish_output(); !finished) {
    print_error(finished.error());
    return exit_error;
  }
  return anything_wrong(*report) ? exit_findings : exit_clean;
}

}  // namespace

void add_bisect_command(CLI::App& app, int& exit_status) {
  CLI::App* const command =
      app.add_subcommand("bisect", "Find out which layer of a path makes packets wait, by probing it with and without each layer");
  auto options = std::make_shared<BisectCommandOptions>();
  command->add_option("PATH", options->path_file, "File that describes the path; 'discover' writes one");
  command
      ->add_option(
          "--rung", options->rungs,
          "A way to probe, and the layers it crosses: 'NAME=TARGET via LAYER,LAYER'. Targets are those of 'stallscope probe'; "
          "layers are words of your own. Give several that leave out different layers. 'NAME=TARGET from ssh:HOST via ...' is "
          "probed "
          "by another host, through your own ssh: the other direction of a path")
      ->type_name("RUNG")
      ->allow_extra_args(false);
  command->add_option("--interval", options->interval, "Time between two probes of a rung (1ms to 10s)")->capture_default_str();
  command->add_option("--for", options->duration, "For how long at most; it ends once every rung is decided (1s to 24h)")
      ->capture_default_str();
  command
      ->add_option("--late", options->late,
                   "An answer is late that takes so much longer than usual on its rung (1ms to 1s); more on a noisy one")
      ->capture_default_str();
  command->add_option("--timeout", options->timeout, "Count a probe as lost that is not answered for so long (10ms to 1m)")
      ->capture_default_str();
  command->add_option("--netns", options->netns, "Network namespace to probe from: a name of ip-netns(8), or a path");
  command->add_option("--probe-cpu", options->cpu, "CPU to probe from; by default any, leaving a CPU that makes probes late")
      ->check(CLI::NonNegativeNumber);
  add_node_options(*command, options->node_access);
  command->add_flag("--json", options->json, "Print JSON (docs/json.md)");
  command->footer(
      "EXAMPLES\n"
      "  sudo stallscope bisect discover 10.0.1.2:30080 > path.yaml\n"
      "  sudo stallscope bisect path.yaml\n"
      "      Describe the path to a service, look through the file, and compare.\n"
      "  sudo stallscope bisect --rung 'service=http://10.0.1.2:30080 via nat,app,node' \\\n"
      "      --rung 'app=http://10.0.1.2:8080 via app,node' --rung 'node=10.0.1.2 via node'\n"
      "      Without a file.\n"
      "  sudo stallscope bisect path.yaml --rung 'back=icmp://10.0.1.1 from ssh:root@10.0.1.2 via node'\n"
      "      With the other direction: the node probes this host.\n"
      "PATH FILE\n"
      "  rungs:\n"
      "    - name: service\n"
      "      probe: http://10.0.1.2:30080/\n"
      "      via: [nat, overlay, application, transport, node]\n"
      "    - name: node by ICMP\n"
      "      probe: icmp://10.0.1.2\n"
      "      via: [node]\n"
      "    - name: back\n"
      "      probe: icmp://10.0.1.1\n"
      "      from: ssh:root@10.0.1.2\n"
      "      via: [node]\n"
      "  The layer 'sender' and a rung 'this host' are always there: a stall that\n"
      "  hits the latter, too, is this host's own.");
  add_bisect_discover_command(*command, exit_status);
  command->callback([options, command, &exit_status] {
    if (command->get_subcommands().empty()) {
      exit_status = bisect_command(*options);
    }
  });
}

}  // namespace stallscope::cli
