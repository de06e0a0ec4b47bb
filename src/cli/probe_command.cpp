// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/probe_output.h"
#include "cli/probe_run.h"
#include "cli/probe_targets.h"
#include "cli/rss_options.h"
#include "cli/terminal.h"
#include "probe/responder.h"

namespace stallscope::cli {
namespace {

constexpr std::int64_t shortest_duration_ns = base::ns_per_ms;
constexpr std::int64_t shortest_interval_ns = base::ns_per_us;
constexpr std::int64_t longest_interval_ns = 3600 * base::ns_per_s;
constexpr std::int64_t shortest_late_ns = 10 * base::ns_per_us;
constexpr std::int64_t longest_late_ns = 60 * base::ns_per_s;
constexpr std::int64_t highest_rate = 5'000'000;

struct ProbeCommandOptions {
  std::vector<std::string> targets;
  std::string target_file;
  std::uint16_t tcp_port = 0;
  std::uint16_t udp_port = 0;
  bool ipv4 = false;
  bool ipv6 = false;
  std::string interval = "100ms";
  std::string duration = "10s";
  std::int64_t count = 0;
  std::string late = "10ms";
  std::string timeout = "3s";
  std::string source_port;
  std::int64_t rate = probe::ProberOptions::default_limit_per_second;
  std::string netns;
  int cpu = -1;
  bool busy_poll = false;
  bool no_transmit_timestamps = false;
  std::string out;
  bool each = false;
  bool json = false;
  bool all = false;
  bool histogram = false;
  RssOptions rss;
};

/// The options that are lengths of time.
base::Status read_times(const ProbeCommandOptions& given, ProbeRunOptions& options) {
  struct Time {
    const char* name;
    const std::string& text;
    std::int64_t minimum_ns;
    std::int64_t maximum_ns;
    std::int64_t& value_ns;
  };
  for (const Time& time :
       {Time{"--interval", given.interval, shortest_interval_ns, longest_interval_ns, options.prober.interval_ns},
        Time{"--for", given.duration, shortest_duration_ns, probe::ProberOptions::longest_duration_ns, options.prober.duration_ns},
        Time{"--timeout", given.timeout, base::ns_per_ms, probe::ProberOptions::longest_timeout_ns, options.prober.timeout_ns},
        Time{"--late", given.late, shortest_late_ns, longest_late_ns, options.late_after_ns}}) {
    const base::Result<std::int64_t> parsed = base::parse_duration(time.name, time.text, time.minimum_ns, time.maximum_ns);
    if (!parsed) {
      return parsed.error();
    }
    time.value_ns = *parsed;
  }
  if (given.count > 0) {
    const std::int64_t most = probe::ProberOptions::longest_duration_ns / options.prober.interval_ns;
    if (given.count > most) {
      return base::Error{"send", fmt::format("--count {}", given.count), "that takes more than 24 h at this interval",
                         fmt::format("Give at most {}.", base::format_count(most))};
    }
    options.prober.duration_ns = given.count * options.prober.interval_ns;
  }
  return base::ok();
}

base::Result<ProbeRunOptions> run_options(const ProbeCommandOptions& given) {
  ProbeRunOptions options;
  if (const base::Status times = read_times(given, options); !times) {
    return times.error();
  }
  std::vector<std::string> texts = given.targets;
  if (!given.target_file.empty()) {
    const base::Result<std::vector<std::string>> more = read_target_file(given.target_file);
    if (!more) {
      return more.error();
    }
    texts.insert(texts.end(), more->begin(), more->end());
  }
  if (texts.empty()) {
    return base::Error{"probe", "", "no target is named", "Give one or more, as in: stallscope probe 10.0.1.2"};
  }
  TargetDefaults defaults;
  if (given.tcp_port != 0) {
    defaults = {.kind = evidence::ProbeKind::tcp_syn, .port = given.tcp_port};
  } else if (given.udp_port != 0) {
    defaults = {.kind = evidence::ProbeKind::udp_echo, .port = given.udp_port};
  }
  const int family = given.ipv4 ? AF_INET : given.ipv6 ? AF_INET6 : AF_UNSPEC;
  base::Result<std::vector<probe::ProbeTarget>> targets = resolve_targets(texts, defaults, family);
  if (!targets) {
    return targets.error();
  }
  options.prober.targets = *std::move(targets);
  if (!given.source_port.empty()) {
    const base::Result<probe::PortRange> ports = parse_port_range(given.source_port);
    if (!ports) {
      return ports.error();
    }
    options.prober.source_ports = *ports;
  }
  options.prober.limit_per_second = given.rate;
  options.prober.netns = given.netns;
  if (given.cpu >= 0) {
    options.prober.cpu = given.cpu;
  }
  options.prober.busy_poll = given.busy_poll;
  options.prober.transmit_timestamps = !given.no_transmit_timestamps;
  base::Result<std::optional<rss::QueueMap>> key = read_rss_options(given.rss);
  if (!key) {
    return key.error();
  }
  options.rss_key = *std::move(key);
  options.bundle_path = given.out;
  options.each = given.each;
  options.json = given.json;
  options.text = {.all = given.all, .histogram = given.histogram};
  return options;
}

int probe_command(const ProbeCommandOptions& given) {
  const base::Result<ProbeRunOptions> options = run_options(given);
  if (!options) {
    print_error(options.error());
    return exit_error;
  }
  const InterruptGuard interrupts;
  const base::Result<bool> wrong = run_probes(*options);
  if (!wrong) {
    print_error(wrong.error());
    return exit_error;
  }
  if (const base::Status finished = finish_output(); !finished) {
    print_error(finished.error());
    return exit_error;
  }
  return *wrong ? exit_findings : exit_clean;
}

}  // namespace

void add_probe_command(CLI::App& app, int& exit_status) {
  CLI::App* command =
      app.add_subcommand("probe", "Probe hosts at a constant rate by ICMP, TCP SYN, UDP or HTTP, timed by the kernel");
  auto options = std::make_shared<ProbeCommandOptions>();
  command->add_option(
      "target", options->targets,
      "Hosts to probe: 10.0.1.2, tcp://10.0.1.2:443, tcp://[fd00::2]:443, udp://node (answered by 'stallscope respond'), "
      "http://web:8080/health; ICMP echo where no scheme says otherwise");
  command->add_option("--targets", options->target_file, "File with more targets, one a line; - is standard input");
  CLI::Option* const tcp =
      command->add_option("--tcp", options->tcp_port, "Probe targets without a scheme by TCP SYNs to this port")
          ->check(CLI::Range(1, 65535));
  command->add_option("--udp", options->udp_port, "Probe targets without a scheme by UDP to this port")
      ->check(CLI::Range(1, 65535))
      ->excludes(tcp);
  CLI::Option* const ipv4 = command->add_flag("-4", options->ipv4, "Take only IPv4 addresses of names");
  command->add_flag("-6", options->ipv6, "Take only IPv6 addresses of names")->excludes(ipv4);
  command->add_option("--interval", options->interval, "Time between two probes to a target (1us to 1h)")->capture_default_str();
  CLI::Option* const duration =
      command->add_option("--for", options->duration, "How long to probe (1ms to 24h)")->capture_default_str();
  command->add_option("--count", options->count, "How many probes to send to each target, instead of for how long")
      ->check(CLI::PositiveNumber)
      ->excludes(duration);
  command
      ->add_option("--late", options->late,
                   "Count an answer as late that takes so much longer than the fastest of its target (10us to 1m)")
      ->capture_default_str();
  command->add_option("--timeout", options->timeout, "Count a probe as lost that is not answered for so long (1ms to 1m)")
      ->capture_default_str();
  command->add_option("--source-port", options->source_port,
                      "Ports to send TCP SYNs and UDP from in turn, as in 40000-40063: they decide which receive queue a packet "
                      "goes to; by default 61000-65535 for TCP, and one of the kernel's choice for UDP");
  add_rss_options(*command, options->rss, "the targets");
  command->add_option("--rate", options->rate, "Most probes per second to all targets together; more is refused")
      ->check(CLI::Range(std::int64_t{1}, highest_rate))
      ->capture_default_str();
  command->add_option("--netns", options->netns, "Network namespace to probe from: a name of ip-netns(8), or a path");
  command->add_option("--probe-cpu", options->cpu, "CPU to probe from; by default any, leaving a CPU that makes probes late")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--busy-poll", options->busy_poll, "Never sleep while there is something to send: takes a whole CPU");
  command->add_flag(
      "--no-transmit-timestamps", options->no_transmit_timestamps,
      "Do not ask the kernel when each packet left: cheaper at high rates, but this host's own delay stays in the times");
  command->add_option("-o,--output", options->out, "Keep every probe in this file, for 'stallscope report' and sqlite3");
  command->add_flag("--each", options->each, "Print a line for each probe");
  command->add_flag("--json", options->json, "Print JSON lines (docs/json.md)");
  command->add_flag("--all", options->all, "List every target instead of those that did worst");
  command->add_flag("--histogram", options->histogram, "Show how the times are distributed");
  command->footer(
      "EXAMPLES\n"
      "  sudo stallscope probe 10.0.1.2 10.0.1.3 --interval 10ms\n"
      "      ICMP echo to two hosts, 100 times a second each.\n"
      "  sudo stallscope probe --tcp 443 10.0.1.2 --each\n"
      "      TCP SYNs, with a line for each; none leaves a connection half open.\n"
      "  sudo stallscope probe tcp://10.0.1.2:443 --source-port 40000-40063\n"
      "      From 64 source ports in turn, which spread over the target's receive queues.\n"
      "  sudo stallscope probe tcp://10.0.1.2:443 --source-port 40000-40063 --rss-key 6d:5a:...:fa --rss-queues 8\n"
      "      The same, with the number of the queue that stalls. Key and number are in 'ethtool -x eth0' there.\n"
      "  stallscope respond                          (on 10.0.1.2)\n"
      "  stallscope probe udp://10.0.1.2             (here)\n"
      "      UDP, with the time in the far host told apart from the path.\n"
      "  stallscope probe http://10.0.1.2:8080/health --json | tail -1 | jq .from_intended\n"
      "      HTTP GET, for a program.");
  command->callback([options, &exit_status] { exit_status = probe_command(*options); });
}

}  // namespace stallscope::cli
