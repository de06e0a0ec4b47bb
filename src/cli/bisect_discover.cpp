// SPDX-License-Identifier: Apache-2.0
#include "cli/bisect_discover.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "bisect/discover.h"
#include "bisect/path_file.h"
#include "cli/commands.h"
#include "cli/probe_targets.h"
#include "cli/terminal.h"
#include "host/program.h"
#include "probe/resolve.h"

namespace stallscope::cli {
namespace {

using bisect::Destination;
using bisect::Discovery;

/// Asks this node's tools, and keeps for the file's comment what they could not tell.
class NodeFacts {
 public:
  /// Its output; empty where it is missing or fails.
  std::string output_of(const std::vector<std::string>& command, std::string_view costs) {
    const base::Result<std::string> output = host::run_program(command);
    if (output) {
      return *output;
    }
    add_comment(fmt::format("Not known: {} ({}).", costs, output.error().reason));
    return {};
  }
  void add_comment(const std::string& line) {
    // One line each: what a program wrote to standard error may be several.
    comments_.push_back(base::shorten(base::printable(line), 200));
  }
  [[nodiscard]] const std::vector<std::string>& comments() const { return comments_; }

 private:
  std::vector<std::string> comments_;
};

std::optional<Destination> find_pod(NodeFacts& facts, const Destination& service) {
  if (service.port == 0) {
    return std::nullopt;
  }
  std::vector<Destination> pods =
      bisect::find_dnat_iptables(facts.output_of({"iptables-save", "-t", "nat"}, "NAT rules of iptables"), service);
  if (pods.empty()) {
    pods = bisect::find_dnat_nft(facts.output_of({"nft", "-j", "list", "ruleset"}, "NAT rules of nftables"), service);
  }
  if (pods.empty()) {
    if (const base::Result<std::string> table = base::read_file("/proc/net/nf_conntrack")) {
      pods = bisect::find_dnat_conntrack(*table, service);
    } else {
      pods = bisect::find_dnat_conntrack(facts.output_of({"conntrack", "-L", "-p", "tcp"}, "tracked connections"), service);
    }
  }
  if (pods.empty()) {
    facts.add_comment("No rule of this node sends it on to another address: if another node does, run this there.");
    return std::nullopt;
  }
  if (pods.size() > 1) {
    facts.add_comment(
        fmt::format("{} pods serve it. A probe of the service meets any of them; the others are of this one only.", pods.size()));
  }
  return pods.front();
}

void find_node(NodeFacts& facts, Discovery& discovery) {
  const std::string address = discovery.pod ? discovery.pod->address : discovery.service.address;
  const std::optional<bisect::Route> route =
      bisect::parse_route(facts.output_of({"ip", "-j", "route", "get", address}, "the route to " + address));
  if (!route) {
    return;
  }
  discovery.tunnel =
      bisect::find_tunnel(facts.output_of({"ip", "-j", "-d", "link", "show"}, "which devices are tunnels"), route->device);
  if (!discovery.tunnel) {
    return;
  }
  discovery.node = discovery.tunnel->remote;
  const std::string next = route->gateway.empty() ? address : route->gateway;
  if (discovery.node.empty() && discovery.tunnel->kind == "vxlan") {
    discovery.node = bisect::find_vxlan_remote(facts.output_of({"ip", "-j", "neigh", "show"}, "neighbours"),
                                               facts.output_of({"bridge", "-j", "fdb", "show"}, "where a VXLAN sends packets"),
                                               route->device, next);
  } else if (discovery.node.empty() && discovery.tunnel->kind == "ipip") {
    discovery.node = route->gateway;
  }
  if (discovery.node.empty()) {
    facts.add_comment(fmt::format("The node behind the tunnel {} is not known: add rungs to it, via node.", route->device));
  }
}

int discover_command(const std::string& text, bool http) {
  const base::Result<TargetText> target = parse_target(text, {.kind = evidence::ProbeKind::udp_echo, .port = 0});
  if (!target) {
    print_error(target.error());
    return exit_error;
  }
  const base::Result<probe::Endpoint> endpoint = probe::resolve_endpoint(target->host);
  if (!endpoint) {
    print_error(endpoint.error());
    return exit_error;
  }
  NodeFacts facts;
  Discovery discovery;
  discovery.service = {probe::address_text(*endpoint), target->port};
  discovery.http = http || target->kind == evidence::ProbeKind::http_get;
  discovery.pod = find_pod(facts, discovery.service);
  find_node(facts, discovery);
  std::vector<std::string> comment = {"The path to " + text + " as this node sees it: look through it, then run",
                                      "stallscope bisect THIS_FILE. 'via' are the layers a probe crosses, in words of your own.",
                                      "The layer 'sender' and a rung to this host itself are added to it."};
  if (!discovery.http && discovery.service.port != 0) {
    comment.emplace_back("Should it speak HTTP, 'discover --http' adds the application.");
  }
  comment.insert(comment.end(), facts.comments().begin(), facts.comments().end());
  print_out(bisect::write_path_file(bisect::make_path(discovery), comment));
  if (const base::Status finished = finish_output(); !finished) {
    print_error(finished.error());
    return exit_error;
  }
  return exit_clean;
}

}  // namespace

void add_bisect_discover_command(CLI::App& bisect, int& exit_status) {
  struct Request {
    std::string target;
    bool http = false;
  };
  const auto request = std::make_shared<Request>();
  CLI::App* const command = bisect.add_subcommand(
      "discover", "Write a path file for a service from this node's routes, tunnels, NAT rules and connections");
  command->add_option("TARGET", request->target, "Address or name, and port: 10.0.1.2:30080")->required();
  command->add_flag("--http", request->http, "The service speaks HTTP: probe its application, too");
  command->footer(
      "EXAMPLES\n"
      "  sudo stallscope bisect discover --http 10.0.1.2:30080 > path.yaml");
  command->callback([request, &exit_status] { exit_status = discover_command(request->target, request->http); });
}

}  // namespace stallscope::cli
