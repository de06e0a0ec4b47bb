// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/far_node.h"
#include "cli/interrupt.h"
#include "cli/node_options.h"
#include "cli/recorder.h"
#include "cli/report_output.h"
#include "cli/terminal.h"
#include "probe/prober.h"

namespace stallscope::cli {
namespace {

constexpr std::int64_t shortest_recording_ns = base::ns_per_s;
constexpr std::int64_t longest_recording_ns = std::int64_t{24} * 3600 * base::ns_per_s;
constexpr std::int64_t shortest_interval_ns = base::ns_per_s / probe::ProberOptions::default_limit_per_second;
constexpr std::int64_t longest_interval_ns = 10 * base::ns_per_s;
/// Below, every wait of a busy machine would be recorded, and their number becomes the load.
constexpr std::int64_t lowest_threshold_ns = 100 * base::ns_per_us;
constexpr std::int64_t highest_threshold_ns = 10 * base::ns_per_s;

/// One page; a gibibyte is more than any burst.
constexpr std::uint32_t lowest_buffer_kib = 4;
constexpr std::uint32_t highest_buffer_kib = 1024 * 1024;

struct DiagnoseOptions {
  std::string target;
  std::string node_bundle;
  std::string duration = "20s";
  std::string interval = "10ms";
  std::string threshold = "1ms";
  std::string netns;
  std::optional<std::uint16_t> echo_id;
  std::optional<std::uint16_t> tcp_port;
  std::string node;
  /// Without its host.
  NodeAccess node_access;
  int probe_cpu = -1;
  std::string out;
  std::uint32_t buffer_kib = 8192;
  std::string tracer = "auto";
  bool no_read_cost = false;
  bool slabinfo = false;
  bool json = false;
  bool all = false;
};

base::Result<RecordOptions> record_options(const DiagnoseOptions& given) {
  const base::Result<std::int64_t> duration =
      base::parse_duration("--for", given.duration, shortest_recording_ns, longest_recording_ns);
  if (!duration) {
    return duration.error();
  }
  const base::Result<std::int64_t> interval =
      base::parse_duration("--interval", given.interval, shortest_interval_ns, longest_interval_ns);
  if (!interval) {
    return interval.error();
  }
  const base::Result<std::int64_t> threshold =
      base::parse_duration("--threshold", given.threshold, lowest_threshold_ns, highest_threshold_ns);
  if (!threshold) {
    return threshold.error();
  }
  if (given.tcp_port && given.target.empty() && !given.echo_id) {
    return base::Error{"diagnose", "--tcp", "no target is named",
                       "Name one. Or give --echo-id, too, to recognise the SYNs that another host sends here."};
  }
  RecordOptions options;
  options.target = given.target;
  options.duration_ns = *duration;
  options.probe_interval_ns = *interval;
  options.wait_threshold_ns = *threshold;
  options.probe_netns = given.netns;
  options.echo_id = given.echo_id;
  options.tcp_port = given.tcp_port;
  if (given.probe_cpu >= 0) {
    options.probe_cpu = given.probe_cpu;
  }
  options.bundle_path = given.out;
  // The kernel wants a power of two.
  options.ring_buffer_bytes = std::bit_ceil(given.buffer_kib * 1024U);
  options.tracer = given.tracer == "bpf"    ? trace::BackendChoice::bpf
                   : given.tracer == "perf" ? trace::BackendChoice::perf
                                            : trace::BackendChoice::automatic;
  options.read_cost = !given.no_read_cost;
  options.slabinfo_anyway = given.slabinfo;
  return options;
}

/// One line on standard error that a person watching sees rewritten; nothing where nobody watches.
class ProgressLine {
 public:
  explicit ProgressLine(const std::string& target) : target_(target), shown_(describe_terminal(STDERR_FILENO).interactive) {}
  ~ProgressLine() {
    if (shown_) {
      (void)std::fputs("\r\x1b[K", stderr);
    }
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ProgressLine(ProgressLine&&) = delete;
  ProgressLine& operator=(ProgressLine&&) = delete;

  void show(const RecordProgress& progress) const {
    if (!shown_) {
      return;
    }
    const std::string what =
        target_.empty() ? "watching this node" : fmt::format("{} probes", base::format_count(progress.probe_count));
    fmt::print(stderr, "\r\x1b[K{} of {} s: {}, {} waits recorded (Ctrl-C ends early and reports)",
               progress.elapsed_ns / base::ns_per_s, progress.planned_ns / base::ns_per_s, what,
               base::format_count(progress.wait_count));
    (void)std::fflush(stderr);
  }

 private:
  const std::string& target_;
  bool shown_;
};

/// "a.stall" becomes "a.node.stall".
std::string node_bundle_path(const std::string& path) {
  constexpr std::string_view suffix = ".stall";
  return (path.ends_with(suffix) ? path.substr(0, path.size() - suffix.size()) : path) + ".node.stall";
}

base::Result<FarNode> start_node(const DiagnoseOptions& given, RecordOptions& options) {
  const base::Result<std::string> host = parse_node("--node", given.node);
  if (!host) {
    return host.error();
  }
  while (options.echo_id.value_or(0) == 0) {
    std::uint16_t drawn = 0;
    if (getrandom(&drawn, sizeof drawn, 0) != static_cast<ssize_t>(sizeof drawn)) {
      return base::errno_error("draw", "a random number for the probes", errno);
    }
    options.echo_id = drawn;
  }
  // The prober waits for late replies after the last probe.
  constexpr std::int64_t after_the_last_ns = 10 * base::ns_per_s;
  NodeAccess access = given.node_access;
  access.host = *host;
  return FarNode::start({.node = std::move(access),
                         .echo_id = *options.echo_id,
                         .tcp_port = options.tcp_port,
                         .longest_ns = options.duration_ns + after_the_last_ns,
                         .wait_threshold_ns = options.wait_threshold_ns});
}

int run_diagnose(const DiagnoseOptions& given) {
  if (!given.node_bundle.empty()) {
    return report_two_ends(given.target, given.node_bundle, {.json = given.json, .all = given.all});
  }
  base::Result<RecordOptions> options = record_options(given);
  if (!options) {
    print_error(options.error());
    return exit_error;
  }
  const InterruptGuard interrupts;
  std::optional<FarNode> node;
  if (!given.node.empty()) {
    base::Result<FarNode> started = start_node(given, *options);
    if (!started) {
      print_error(started.error());
      return exit_error;
    }
    node.emplace(*std::move(started));
  }
  base::Result<RecordOutcome> outcome = [&] {
    const ProgressLine progress(given.target);
    bool announced = !given.echo_id || !given.target.empty();
    return record(*options, [&](const RecordProgress& now) {
      if (!std::exchange(announced, true)) {
        const std::string tcp = given.tcp_port ? fmt::format(" --tcp {}", *given.tcp_port) : "";
        fmt::print(stderr, "{}{}{}\n", recording_announcement, *given.echo_id, tcp);
      }
      progress.show(now);
    });
  }();
  if (!outcome) {
    print_error(outcome.error());
    return exit_error;
  }
  const ReportOutputOptions output{.json = given.json, .all = given.all};
  int status = exit_error;
  if (node) {
    const std::string node_bundle = node_bundle_path(outcome->bundle_path);
    if (const base::Status fetched = node->fetch(node_bundle); !fetched) {
      static_cast<void>(report_bundle(outcome->bundle_path, output));
      print_error(fetched.error());
      return exit_error;
    }
    status = report_two_ends(outcome->bundle_path, node_bundle, output);
  } else {
    status = report_bundle(outcome->bundle_path, output);
  }
  if (outcome->error) {
    base::Error error = *outcome->error;
    error.hint = "The report covers what was recorded until then, in " + outcome->bundle_path + ".";
    print_error(error);
    return exit_error;
  }
  return status;
}

}  // namespace

void add_diagnose_command(CLI::App& app, int& exit_status) {
  CLI::App* command = app.add_subcommand("diagnose", "Find out why received packets wait: record, analyse, report");
  auto options = std::make_shared<DiagnoseOptions>();
  command->add_option("target", options->target,
                      "Host name or IPv4 address to probe, with ICMP echo unless told otherwise. Without it, this node's own "
                      "traffic is watched and "
                      "nothing is sent");
  command->add_option("node-bundle", options->node_bundle,
                      "With the bundles of both ends in place of a target, the prober's and the node's: report what was recorded "
                      "at both at once, as 'stallscope report' does");
  command->add_option("--for", options->duration, "How long to record (1s to 24h)")->capture_default_str();
  command->add_option("--interval", options->interval, "Time between two probes (100us to 10s)")->capture_default_str();
  command->add_option("--threshold", options->threshold, "Record waits from this length on (100us to 10s)")->capture_default_str();
  command->add_option("--netns", options->netns, "Network namespace to probe from: a name of ip-netns(8), or a path");
  command
      ->add_option(
          "--echo-id", options->echo_id,
          "Number that the probes carry (1 to 65535): the ICMP identifier, or with --tcp what marks the SYNs. Given at both "
          "ends, it lets a node recognise the probes of another host, and their recordings be reported together")
      ->check(CLI::Range(1, 65'535));
  command
      ->add_option(
          "--tcp", options->tcp_port,
          "Probe by TCP SYN to this port in place of ICMP echo, from one source port after the other, so that every receive "
          "queue is reached. The port may be closed; no connection is left behind")
      ->check(CLI::Range(1, 65'535))
      ->type_name("PORT")
      ->excludes("node-bundle");
  CLI::Option* const node =
      command
          ->add_option("--node", options->node,
                       "Also record on the node that is probed, through your own ssh, and report both ends together: ssh:HOST")
          ->type_name("ssh:HOST")
          ->needs("target")
          ->excludes("node-bundle");
  for (CLI::Option* const option : add_node_options(*command, options->node_access)) {
    option->needs(node);
  }
  command->add_option("--probe-cpu", options->probe_cpu, "CPU to probe from; by default any, leaving a CPU that makes probes late")
      ->check(CLI::NonNegativeNumber);
  command->add_option("-o,--out", options->out, "File for the evidence; by default TARGET-DATE.stall in this directory");
  command
      ->add_option("--buffer", options->buffer_kib,
                   "KiB of memory for events not yet read, rounded up to a power of two; lost events are counted in the report")
      ->check(CLI::Range(lowest_buffer_kib, highest_buffer_kib))
      ->capture_default_str();
  command
      ->add_option("--tracer", options->tracer,
                   "How to watch this kernel: by BPF programs (bpf), by perf events, which need no BTF but show less (perf), or by "
                   "the first of these that works (auto)")
      ->check(CLI::IsMember({"auto", "bpf", "perf"}))
      ->capture_default_str();
  command->add_flag("--no-read-cost", options->no_read_cost,
                    "Do not measure what a read of memory.stat costs: such a read can itself hold interrupts off");
  command->add_flag("--slabinfo", options->slabinfo,
                    "Read /proc/slabinfo even where that holds interrupts off (before Linux 6.10)");
  command->add_flag("--json", options->json, "Print the report as JSON");
  command->add_flag("--all", options->all, "List every stall, whole stacks, and who had the CPU in order");
  command->footer(
      "EXAMPLES\n"
      "  sudo stallscope diagnose 10.0.1.2 --for 20s\n"
      "      Probe a host every 10 ms for 20 s; if its kernel is this one, name what held its packets.\n"
      "  sudo stallscope diagnose\n"
      "      On a suspect node: watch its own traffic for 20 s, with no probe at all.\n"
      "  sudo stallscope diagnose 10.0.1.2 --netns blue --interval 1ms -o blue.stall\n"
      "      Probe from the network namespace blue, ten times as often, and keep the evidence in blue.stall.\n"
      "  sudo stallscope diagnose 10.0.1.2 --tcp 443\n"
      "      Probe by SYNs: what a new connection to this port would wait for.\n"
      "  sudo stallscope diagnose --echo-id 4711 -o node.stall\n"
      "  sudo stallscope diagnose 10.0.1.2 --echo-id 4711 -o client.stall\n"
      "  stallscope diagnose client.stall node.stall\n"
      "      Both ends at once: on the node, on the host that probes it, and then with\n"
      "      both files, which probes were late, and what held them on the node.\n"
      "  sudo stallscope diagnose 10.0.1.2 --node ssh:root@10.0.1.2 --node-copy\n"
      "      The same as one command, on a node that need not have stallscope.\n"
      "  stallscope report blue.stall --json | jq .findings\n"
      "      Read the verdict of a recording again, without privileges.");
  command->callback([options, &exit_status] { exit_status = run_diagnose(*options); });
}

}  // namespace stallscope::cli
