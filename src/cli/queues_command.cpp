// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/probe_targets.h"
#include "cli/queues_output.h"
#include "cli/terminal.h"
#include "host/rss.h"
#include "probe/netns.h"
#include "probe/resolve.h"
#include "report/receive_queues.h"

namespace stallscope::cli {
namespace {

using base::Error;
using base::Result;

struct QueuesOptions {
  std::vector<std::string> devices;
  std::string from;
  std::string to;
  std::uint16_t tcp_port = 0;
  std::uint16_t udp_port = 0;
  std::string source_port;
  std::string netns;
  bool json = false;
};

struct FlowQuestion {
  rss::Flow flow;
  probe::PortRange ports;
};

/// Nothing where none was asked.
Result<std::optional<FlowQuestion>> question_of(const QueuesOptions& given) {
  if (given.from.empty() && given.to.empty()) {
    return std::optional<FlowQuestion>();
  }
  if (given.from.empty() || given.to.empty() || (given.tcp_port == 0 && given.udp_port == 0)) {
    return Error{"predict", "queues", "a flow has two addresses and a port",
                 "As in: stallscope queues eth0 --from 10.0.1.1 --to 10.0.1.2 --tcp 443"};
  }
  FlowQuestion question;
  question.ports = probe::default_source_ports;
  if (!given.source_port.empty()) {
    const Result<probe::PortRange> ports = parse_port_range(given.source_port);
    if (!ports) {
      return ports.error();
    }
    question.ports = *ports;
  }
  const Result<probe::Endpoint> from = probe::resolve_endpoint(given.from);
  const Result<probe::Endpoint> to = from ? probe::resolve_endpoint(given.to, from->family) : from;
  if (!to) {
    return to.error();
  }
  const bool v6 = from->family == AF_INET6;
  question.flow.kind = given.tcp_port != 0 ? (v6 ? rss::PacketKind::tcp6 : rss::PacketKind::tcp4)
                                           : (v6 ? rss::PacketKind::udp6 : rss::PacketKind::udp4);
  question.flow.destination_port = given.tcp_port != 0 ? given.tcp_port : given.udp_port;
  const auto copy = [](const probe::Endpoint& endpoint, std::array<std::uint8_t, 16>& address) {
    std::transform(endpoint.bytes().begin(), endpoint.bytes().end(), address.begin(),
                   [](std::byte byte) { return std::to_integer<std::uint8_t>(byte); });
  };
  copy(*from, question.flow.source);
  copy(*to, question.flow.destination);
  return std::optional(question);
}

Result<std::vector<rss::ReceiveQueues>> read_devices(const std::vector<std::string>& named) {
  std::vector<rss::ReceiveQueues> all;
  for (const std::string& device : named.empty() ? host::network_devices() : named) {
    Result<rss::ReceiveQueues> queues = host::read_receive_queues(device);
    if (!queues) {
      return queues.error();
    }
    all.push_back(*std::move(queues));
  }
  return all;
}

Result<std::vector<rss::ReceiveQueues>> read_devices_in(const QueuesOptions& given) {
  if (given.netns.empty()) {
    return read_devices(given.devices);
  }
  const Result<probe::NetworkNamespace> netns = probe::NetworkNamespace::open(given.netns);
  if (!netns) {
    return netns.error();
  }
  Result<std::vector<rss::ReceiveQueues>> all = std::vector<rss::ReceiveQueues>();
  const base::Status entered = probe::run_in_netns(*netns, [&] { all = read_devices(given.devices); });
  return entered ? std::move(all) : Result<std::vector<rss::ReceiveQueues>>(entered.error());
}

base::Status show(const QueuesOptions& given) {
  const Result<std::optional<FlowQuestion>> question = question_of(given);
  if (!question) {
    return question.error();
  }
  const Result<std::vector<rss::ReceiveQueues>> all = read_devices_in(given);
  if (!all) {
    return all.error();
  }
  const std::size_t width = describe_terminal(STDOUT_FILENO).width;
  report::Json list = report::Json::array();
  std::string text;
  for (const rss::ReceiveQueues& queues : *all) {
    report::Json device = report::receive_queues_json(queues);
    text += report::render_receive_queues(queues, width);
    if (*question) {
      const Result<rss::QueueMap> map = rss::QueueMap::make(queues);
      const Result<PortsByQueue> predicted =
          map ? predict_ports(*map, (*question)->flow, (*question)->ports) : Result<PortsByQueue>(map.error());
      // Of several devices, some may not say; of one that was asked for by name it is the answer.
      if (!predicted && all->size() == 1) {
        return predicted.error();
      }
      if (predicted) {
        text += render_ports_by_queue(*predicted, width);
        device["flow"] = ports_by_queue_json(*predicted);
      }
    }
    list.push_back(std::move(device));
  }
  constexpr int spaces = 2;
  constexpr bool ascii_only = true;
  print_out(given.json ? list.dump(spaces, ' ', ascii_only, report::Json::error_handler_t::replace) + "\n" : text);
  return finish_output();
}

}  // namespace

void add_queues_command(CLI::App& app, int& exit_status) {
  CLI::App* command =
      app.add_subcommand("queues", "How network devices distribute what they receive, and which source ports reach which queue");
  const auto options = std::make_shared<QueuesOptions>();
  command->add_option("device", options->devices, "Devices (default: all of the network namespace)");
  command->add_option("--from", options->from, "Predict the queues of flows from this address ...");
  command->add_option("--to", options->to, "... to this one of the device's host");
  CLI::Option* const tcp = command->add_option("--tcp", options->tcp_port, "... by TCP, to this port")->check(CLI::Range(1, 65535));
  command->add_option("--udp", options->udp_port, "... by UDP, to this port")->check(CLI::Range(1, 65535))->excludes(tcp);
  command->add_option("--source-port", options->source_port,
                      "Source ports to predict for, as in 40000-40063 (default: 61000-65535, which 'probe' takes for TCP)");
  command->add_option("--netns", options->netns, "Network namespace of the devices: a name of ip-netns(8), or a path");
  command->add_flag("--json", options->json, "Print JSON (docs/json.md)");
  command->footer(
      "The hash key is never shown: who knows it can aim at a queue.\n"
      "\n"
      "EXAMPLES\n"
      "  stallscope queues eth0\n"
      "      Queues, their interrupts and CPUs, what is hashed.\n"
      "  stallscope queues eth0 --from 10.0.1.1 --to 10.0.1.2 --tcp 443     (on 10.0.1.2)\n"
      "      Ports to probe each queue from, with 'probe tcp://10.0.1.2:443 --source-port'.");
  command->callback([options, &exit_status] {
    const base::Status shown = show(*options);
    if (!shown) {
      print_error(shown.error());
    }
    exit_status = shown ? exit_clean : exit_error;
  });
}

}  // namespace stallscope::cli
