// SPDX-License-Identifier: Apache-2.0
#include "bisect/discover.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/numbers.h"
#include "base/text.h"

namespace stallscope::bisect {
namespace {

using nlohmann::json;

void add_once(std::vector<Destination>& destinations, Destination destination) {
  if (destination.port != 0 && std::find(destinations.begin(), destinations.end(), destination) == destinations.end()) {
    destinations.push_back(std::move(destination));
  }
}

/// "10.9.0.2:8080", "[fd00::2]:8080", "10.9.0.2:8080-8090" (the first); a port of its own where it names none.
Destination parse_destination(std::string_view text, std::uint16_t port) {
  const std::size_t colon = text.rfind(':');
  const std::size_t bracket = text.rfind(']');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos ? text.find(':') == colon : colon > bracket);
  std::string_view address = has_port ? text.substr(0, colon) : text;
  if (has_port) {
    const std::string_view number = text.substr(colon + 1);
    port = base::parse_number<std::uint16_t>(number.substr(0, number.find('-'))).value_or(0);
  }
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  return {std::string(address), port};
}

/// A rule of either kind, as far as it matters here.
struct NatRule {
  /// Nothing: any.
  std::optional<std::string> address;
  std::optional<std::uint16_t> port;
  /// Where it goes on: one of the two.
  std::string chain;
  std::string to;
};
using Chains = std::map<std::string, std::vector<NatRule>, std::less<>>;

/// Follows what a connection to the service may meet. A chain that asks for nothing is followed only from a rule that asked.
class DnatSearch {
 public:
  DnatSearch(const Chains& chains, const Destination& service) : chains_(chains), service_(service) {}

  std::vector<Destination> run() {
    for (const auto& [name, rules] : chains_) {
      for (const NatRule& rule : rules) {
        if (rule.port == service_.port && matches(rule)) {
          follow(rule);
        }
      }
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] bool matches(const NatRule& rule) const {
    return (!rule.address || *rule.address == service_.address) && (!rule.port || *rule.port == service_.port);
  }
  void follow(const NatRule& rule) {
    if (!rule.to.empty()) {
      add_once(found_, parse_destination(rule.to, service_.port));
    }
    const auto chain = chains_.find(rule.chain);
    if (chain == chains_.end() || !visited_.insert(rule.chain).second) {
      return;
    }
    for (const NatRule& next : chain->second) {
      if (matches(next)) {
        follow(next);
      }
    }
  }

  const Chains& chains_;
  const Destination& service_;
  std::set<std::string, std::less<>> visited_;
  std::vector<Destination> found_;
};

/// Nothing where it does not parse, and an array whatever the tool printed.
json parse_array(const std::string& text) {
  json parsed = json::parse(text, nullptr, false);
  return parsed.is_array() ? parsed : json::array();
}

std::string text_of(const json& object, const char* name) {
  const auto member = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && member != object.end() && member->is_string() ? member->get<std::string>() : std::string();
}

const json* member(const json& object, const char* name) {
  if (!object.is_object()) {
    return nullptr;
  }
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

/// "tcp dport 30080", "ip daddr 10.0.1.2"
void read_nft_match(const json& match, NatRule& rule) {
  const json* const left = member(match, "left");
  const json* const payload = left == nullptr ? nullptr : member(*left, "payload");
  const json* const right = member(match, "right");
  if (payload == nullptr || right == nullptr || text_of(match, "op") != "==") {
    return;
  }
  const std::string field = text_of(*payload, "field");
  if (field == "dport" && right->is_number_unsigned()) {
    rule.port = right->get<std::uint16_t>();
  } else if (field == "daddr" && right->is_string()) {
    rule.address = right->get<std::string>();
  }
}

NatRule read_nft_rule(const json& expressions, const std::string& table) {
  NatRule rule;
  for (const json& expression : expressions) {
    if (const json* const match = member(expression, "match")) {
      read_nft_match(*match, rule);
    }
    for (const char* const jump : {"jump", "goto"}) {
      if (const json* const target = member(expression, jump)) {
        rule.chain = table + text_of(*target, "target");
      }
    }
    if (const json* const dnat = member(expression, "dnat")) {
      const std::string address = text_of(*dnat, "addr");
      const json* const port = member(*dnat, "port");
      const bool has_port = port != nullptr && port->is_number_unsigned();
      rule.to = address.empty() || !has_port ? address : fmt::format("[{}]:{}", address, port->get<std::uint64_t>());
    }
  }
  return rule;
}

}  // namespace

std::vector<Destination> find_dnat_iptables(std::string_view text, const Destination& service) {
  Chains chains;
  for (const std::string_view line : base::split(text, '\n')) {
    const std::vector<std::string_view> words = base::split_fields(line);
    if (words.size() < 4 || words[0] != "-A") {
      continue;
    }
    NatRule rule;
    bool negated = false;
    for (std::size_t i = 2; i + 1 < words.size(); ++i) {
      const std::string_view value = words[i + 1];
      if (words[i] == "-d" && words[i - 1] != "!") {
        // A single address; a network is not looked into.
        rule.address = std::string(value.substr(0, value.ends_with("/32") ? value.size() - 3 : value.find("/128")));
      } else if (words[i] == "--dport") {
        negated = negated || words[i - 1] == "!";
        rule.port = base::parse_number<std::uint16_t>(value).value_or(0);
      } else if (words[i] == "-j" || words[i] == "-g") {
        rule.chain = value;
      } else if (words[i] == "--to-destination") {
        rule.to = value;
      }
    }
    if (!negated) {
      chains[std::string(words[1])].push_back(std::move(rule));
    }
  }
  return DnatSearch(chains, service).run();
}

std::vector<Destination> find_dnat_nft(const std::string& json_text, const Destination& service) {
  const json ruleset = json::parse(json_text, nullptr, false);
  const json* const list = member(ruleset, "nftables");
  Chains chains;
  for (const json& object : list != nullptr && list->is_array() ? *list : json::array()) {
    const json* const rule = member(object, "rule");
    const json* const expressions = rule == nullptr ? nullptr : member(*rule, "expr");
    if (expressions == nullptr || !expressions->is_array()) {
      continue;
    }
    // Chains of different tables may share a name.
    const std::string table = text_of(*rule, "family") + " " + text_of(*rule, "table") + " ";
    chains[table + text_of(*rule, "chain")].push_back(read_nft_rule(*expressions, table));
  }
  return DnatSearch(chains, service).run();
}

std::vector<Destination> find_dnat_conntrack(std::string_view text, const Destination& service) {
  std::vector<Destination> found;
  for (const std::string_view line : base::split(text, '\n')) {
    // Each entry has both directions, and the second one's source is where the connection really goes.
    std::array<std::vector<std::string_view>, 4> values;
    for (const std::string_view word : base::split_fields(line)) {
      constexpr std::array<std::string_view, 4> keys = {"src=", "dst=", "sport=", "dport="};
      for (std::size_t i = 0; i < keys.size(); ++i) {
        if (word.starts_with(keys.at(i))) {
          values.at(i).push_back(word.substr(keys.at(i).size()));
        }
      }
    }
    const auto& [sources, destinations, source_ports, destination_ports] = values;
    if (line.find("tcp") == std::string_view::npos || sources.size() != 2 || destinations.size() != 2 || source_ports.size() != 2 ||
        destination_ports.size() != 2) {
      continue;
    }
    const auto number = [](std::string_view word) { return base::parse_number<std::uint16_t>(word).value_or(0); };
    const Destination real{std::string(sources[1]), number(source_ports[1])};
    const Destination asked{std::string(destinations[0]), number(destination_ports[0])};
    if (asked == service && !(real == asked)) {
      add_once(found, real);
    }
  }
  return found;
}

std::optional<Route> parse_route(const std::string& json_text) {
  const json routes = parse_array(json_text);
  if (routes.empty() || text_of(routes[0], "dev").empty()) {
    return std::nullopt;
  }
  return Route{text_of(routes[0], "dev"), text_of(routes[0], "gateway")};
}

std::optional<Tunnel> find_tunnel(const std::string& links_json, std::string_view device) {
  constexpr std::array<std::string_view, 8> tunnels = {"vxlan", "geneve", "ipip", "gre", "ip6tnl", "ip6gre", "sit", "wireguard"};
  for (const json& link : parse_array(links_json)) {
    const json* const info = member(link, "linkinfo");
    if (text_of(link, "ifname") != device || info == nullptr) {
      continue;
    }
    const std::string kind = text_of(*info, "info_kind");
    if (std::find(tunnels.begin(), tunnels.end(), kind) == tunnels.end()) {
      return std::nullopt;
    }
    const json* const data = member(*info, "info_data");
    std::string remote = data == nullptr ? "" : text_of(*data, "remote");
    return Tunnel{kind, remote == "any" ? "" : std::move(remote)};
  }
  return std::nullopt;
}

std::string find_vxlan_remote(const std::string& neighbours_json, const std::string& fdb_json, std::string_view device,
                              std::string_view address) {
  std::string hardware_address;
  for (const json& neighbour : parse_array(neighbours_json)) {
    if (text_of(neighbour, "dst") == address && text_of(neighbour, "dev") == device) {
      hardware_address = text_of(neighbour, "lladdr");
    }
  }
  for (const json& entry : parse_array(fdb_json)) {
    if (!hardware_address.empty() && text_of(entry, "mac") == hardware_address && text_of(entry, "ifname") == device) {
      return text_of(entry, "dst");
    }
  }
  return {};
}

Path make_path(const Discovery& discovery) {
  const auto url = [](std::string_view scheme, const Destination& to) {
    const bool brackets = to.address.find(':') != std::string::npos;
    const std::string host = brackets ? "[" + to.address + "]" : to.address;
    return to.port == 0 ? fmt::format("{}://{}", scheme, host) : fmt::format("{}://{}:{}", scheme, host, to.port);
  };
  Path path;
  const auto add = [&](std::string name, std::string target, std::vector<std::string> layers) {
    path.rungs.push_back({std::move(name), std::move(target), std::move(layers)});
  };
  // What every rung to the pod crosses, besides its own.
  std::vector<std::string> to_pod;
  if (discovery.tunnel) {
    to_pod.emplace_back("overlay");
  }
  const bool behind_nat = discovery.pod.has_value();
  const Destination pod = behind_nat ? *discovery.pod : discovery.service;
  const bool node_is_apart = !discovery.node.empty() && discovery.node != pod.address;
  // Without a rung to the node alone this layer could not be told from the pod's.
  to_pod.emplace_back(behind_nat || discovery.tunnel ? "pod" : "node");
  if (node_is_apart) {
    to_pod.emplace_back("node");
  }
  const auto layers = [&](std::vector<std::string> first) {
    first.insert(first.end(), to_pod.begin(), to_pod.end());
    return first;
  };
  const std::string place = behind_nat || discovery.tunnel ? "pod" : "target";
  const std::string_view scheme = discovery.http ? "http" : "tcp";
  if (behind_nat) {
    add("service", url(scheme, discovery.service),
        discovery.http ? layers({"nat", "application", "transport"}) : layers({"nat", "transport"}));
  }
  if (pod.port != 0) {
    if (discovery.http) {
      add(place + " by HTTP", url("http", pod), layers({"application", "transport"}));
    }
    add(place + " by TCP", url("tcp", pod), layers({"transport"}));
  }
  add(place + " by ICMP", url("icmp", {pod.address, 0}), layers({}));
  if (node_is_apart) {
    // To a port that hardly anybody serves: a refusal is an answer, too.
    constexpr std::uint16_t discard_port = 9;
    add("node by TCP", url("tcp", {discovery.node, discard_port}), {"transport", "node"});
    add("node by ICMP", url("icmp", {discovery.node, 0}), {"node"});
  }
  return path;
}

}  // namespace stallscope::bisect
