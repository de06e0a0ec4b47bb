// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/units.h"
#include "capture/evidence.h"
#include "cli/capture_run.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/rss_options.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

constexpr std::int64_t longest_duration_ns = std::int64_t{24} * 3600 * base::ns_per_s;

/// What is given of the receive queues, as it was written.
struct QueueOptions {
  RssOptions rss;
  std::string host;
};

base::Status take_queue_options(const QueueOptions& given, CaptureRunOptions& options) {
  base::Result<std::optional<rss::QueueMap>> key = read_rss_options(given.rss);
  if (!key) {
    return key.error();
  }
  options.rss_key = *std::move(key);
  if (!given.host.empty()) {
    std::array<std::uint8_t, 16> address{};
    const bool v6 = given.host.find(':') != std::string::npos;
    if (::inet_pton(v6 ? AF_INET6 : AF_INET, given.host.c_str(), address.data()) != 1) {
      return base::Error{"use", "--rss-host " + given.host, "it is not an address", "Give it as it stands in the packets."};
    }
    options.rss_host = capture::address_text(address, v6);
  }
  return base::ok();
}

int capture_command(CaptureRunOptions options, const std::string& duration, const QueueOptions& queue_options) {
  const base::Error* wrong = nullptr;
  base::Error none_given{"read", "", "no capture is named", "Give a file, - for standard input, or an interface with -i."};
  const base::Result<std::int64_t> duration_ns =
      base::parse_duration("--for", duration, 100 * base::ns_per_ms, longest_duration_ns);
  const base::Status queues_taken = take_queue_options(queue_options, options);
  if (options.files.empty() && options.interface.empty()) {
    wrong = &none_given;
  } else if (!duration_ns) {
    wrong = &duration_ns.error();
  } else if (!queues_taken) {
    wrong = &queues_taken.error();
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
  auto queue_options = std::make_shared<QueueOptions>();
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
  add_rss_options(*command, queue_options->rss, "the host");
  command->add_option("--rss-host", queue_options->host,
                      "The address of the host whose receive queues are meant: of what it was asked, and of the answers to what it "
                      "asked (default: each host that was asked)");
  command->add_flag("--json", options->json, "Print JSON (docs/json.md describes it)");
  command->add_flag("--all", options->all, "List every stall");
  command->footer(
      "EXAMPLES\n"
      "  stallscope capture slow.pcap\n"
      "      Which connections and echoes were answered late, together or apart?\n"
      "  stallscope capture client.pcap node.pcap\n"
      "      The same, and whether it was before, inside or after the node.\n"
      "  stallscope capture slow.pcap --rss-key 6d:5a:...:fa --rss-queues 8 --rss-host 10.0.1.2\n"
      "      Which receive queue of 10.0.1.2 stood still? Key and number are in 'ethtool -x eth0' there.\n"
      "  stallscope capture slow.pcap --plot slow.svg --annotate slow.pcapng\n"
      "      A picture, and the capture with comments: tshark -r slow.pcapng -Y frame.comment\n"
      "  sudo tcpdump -i eth0 -w - 'tcp[tcpflags] & tcp-syn != 0' | stallscope capture -\n"
      "      From a pipe. Ctrl-C ends tcpdump, and the report is on what it wrote.\n"
      "  sudo stallscope capture -i eth0 --for 20s --filter icmp\n"
      "      From an interface.");
  command->callback(
      [options, duration, queue_options, &exit_status] { exit_status = capture_command(*options, *duration, *queue_options); });
}

}  // namespace stallscope::cli
