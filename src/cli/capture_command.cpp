// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <string>

#include "base/units.h"
#include "cli/capture_run.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

constexpr std::int64_t longest_duration_ns = std::int64_t{24} * 3600 * base::ns_per_s;

int capture_command(CaptureRunOptions options, const std::string& duration) {
  const base::Error* wrong = nullptr;
  base::Error none_given{"read", "", "no capture is named", "Give a file, - for standard input, or an interface with -i."};
  const base::Result<std::int64_t> duration_ns =
      base::parse_duration("--for", duration, 100 * base::ns_per_ms, longest_duration_ns);
  if (options.files.empty() && options.interface.empty()) {
    wrong = &none_given;
  } else if (!duration_ns) {
    wrong = &duration_ns.error();
  }
  if (wrong != nullptr) {
    print_error(*wrong);
    return exit_error;
  }
  options.duration_ns = options.interface.empty() ? 0 : *duration_ns;
  const InterruptGuard interrupts;
  const base::Result<bool> findings = run_capture(options);
  if (!findings) {
    print_error(findings.error());
    return exit_error;
  }
  if (const base::Status finished = finish_output(); !finished) {
    print_error(finished.error());
    return exit_error;
  }
  return *findings ? exit_findings : exit_clean;
}

}  // namespace

void add_capture_command(CLI::App& app, int& exit_status) {
  CLI::App* const command = app.add_subcommand(
      "capture", "Find the stalls in captured packets: who waited, for how long, and on which side and in which queue");
  auto options = std::make_shared<CaptureRunOptions>();
  auto duration = std::make_shared<std::string>("10s");
  CLI::Option* const files =
      command
          ->add_option(
              "FILE", options->files,
              "A capture: pcap or pcapng, as it is or compressed by gzip or zstd; - is standard input. With a second one of the "
              "same packets, recorded on the host that was asked, the delay is placed before, inside or after that host")
          ->expected(0, 2);
  command->add_option("-i,--interface", options->interface, "Capture from this interface instead; 'any' for all. Needs CAP_NET_RAW")
      ->excludes(files);
  command->add_option("--for", *duration, "How long to capture from an interface (100ms to 24h)")->capture_default_str();
  command->add_option("--filter", options->filter,
                      "Only packets that this expression matches: the language of tcpdump, pcap-filter(7)");
  command->add_option("-o,--output", options->bundle_path, "Keep the evidence in this bundle (*.stall), for 'stallscope report'");
  command->add_option("--csv", options->csv_path,
                      "Write each exchange to this file: addresses, ports, time, RTT, answer and packet numbers");
  command->add_option("--flows", options->flows_path,
                      "Write each flow to this file: addresses, ports, packets, bytes, RTTs, held packets, retransmissions");
  command->add_option("--plot", options->plot_path, "Draw RTTs against time into this file (*.svg), held packets marked");
  command->add_option(
      "--annotate", options->annotate_path,
      "Write the capture again to this file (*.pcapng), with a comment on each held packet for Wireshark and tshark");
  command->add_flag("--json", options->json, "Print JSON (docs/json.md describes it)");
  command->add_flag("--all", options->all, "List every stall");
  command->footer(
      "EXAMPLES\n"
      "  stallscope capture slow.pcap\n"
      "      Which connections and echoes were answered late, together or apart?\n"
      "  stallscope capture client.pcap node.pcap\n"
      "      The same, and whether it was before, inside or after the node.\n"
      "  stallscope capture slow.pcap --plot slow.svg --annotate slow.pcapng\n"
      "      A picture, and the capture with comments: tshark -r slow.pcapng -Y frame.comment\n"
      "  sudo tcpdump -i eth0 -w - 'tcp[tcpflags] & tcp-syn != 0' | stallscope capture -\n"
      "      From a pipe. Ctrl-C ends tcpdump, and the report is on what it wrote.\n"
      "  sudo stallscope capture -i eth0 --for 20s --filter icmp\n"
      "      From an interface.");
  command->callback([options, duration, &exit_status] { exit_status = capture_command(*options, *duration); });
}

}  // namespace stallscope::cli
