// SPDX-License-Identifier: Apache-2.0
#include "cli/probe_targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "base/files.h"
#include "base/numbers.h"
#include "base/text.h"
#include "probe/resolve.h"
#include "probe/responder.h"

namespace stallscope::cli {
namespace {

using evidence::ProbeKind;

constexpr std::uint16_t http_port = 80;
constexpr std::string_view target_hint =
    "Targets look like 10.0.1.2, tcp://10.0.1.2:443, tcp://[fd00::2]:443, udp://node or http://web:8080/health.";

struct Scheme {
  std::string_view prefix;
  ProbeKind kind;
  std::uint16_t port;
};
constexpr std::array<Scheme, 4> schemes = {{{"icmp://", ProbeKind::icmp_echo, 0},
                                            {"tcp://", ProbeKind::tcp_syn, 0},
                                            {"udp://", ProbeKind::udp_echo, probe::ResponderOptions::default_port},
                                            {"http://", ProbeKind::http_get, http_port}}};

base::Error bad_target(const std::string& text, std::string reason) {
  return {"probe", text, std::move(reason), std::string(target_hint)};
}

/// Splits "host:port", "[v6]:port" and "[v6]". An address of IPv6 without brackets has no port.
base::Status split_port(const std::string& text, std::string_view authority, TargetText& target) {
  std::string_view port;
  bool has_port = false;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) {
      return bad_target(text, "the bracket is not closed");
    }
    target.host = authority.substr(1, end - 1);
    const std::string_view rest = authority.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') {
      return bad_target(text, "after the bracket only a port can follow");
    }
    has_port = !rest.empty();
    port = has_port ? rest.substr(1) : rest;
  } else if (std::count(authority.begin(), authority.end(), ':') == 1) {
    const std::size_t colon = authority.find(':');
    target.host = authority.substr(0, colon);
    port = authority.substr(colon + 1);
    has_port = true;
  } else {
    target.host = authority;
  }
  if (has_port) {
    const auto number = base::parse_number<std::uint16_t>(port);
    if (!number || *number == 0) {
      return bad_target(text, fmt::format("'{}' is not a port from 1 to 65535", base::printable(port)));
    }
    target.port = *number;
  }
  return base::ok();
}

}  // namespace

base::Result<TargetText> parse_target(const std::string& text, const TargetDefaults& defaults) {
  TargetText target{.kind = defaults.kind, .host = {}, .port = defaults.port, .path = {}};
  std::string_view rest = text;
  const auto* const scheme =
      std::find_if(schemes.begin(), schemes.end(), [&](const Scheme& known) { return rest.starts_with(known.prefix); });
  if (scheme != schemes.end()) {
    target.kind = scheme->kind;
    target.port = scheme->port;
    rest.remove_prefix(scheme->prefix.size());
  } else if (rest.find("://") != std::string_view::npos) {
    const bool encrypted = rest.starts_with("https://");
    return bad_target(text, encrypted ? "TLS is not spoken" : "the scheme is not known");
  }
  const std::size_t slash = rest.find('/');
  const std::string_view authority = rest.substr(0, slash);
  const std::string_view path = slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  if (!path.empty() && target.kind != ProbeKind::http_get) {
    return bad_target(text, "only http:// has a path");
  }
  // What would end the request line, or begin a header of its own.
  if (std::any_of(path.begin(), path.end(), [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; })) {
    return bad_target(text, "the path holds a space or a control character");
  }
  target.path = path;
  if (const base::Status status = split_port(text, authority, target); !status) {
    return status.error();
  }
  if (target.host.empty()) {
    return bad_target(text, "no host is named");
  }
  if (std::any_of(target.host.begin(), target.host.end(),
                  [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; })) {
    return bad_target(text, "the host holds a space or a control character");
  }
  if (target.kind == ProbeKind::icmp_echo && target.port != 0) {
    return bad_target(text, "ICMP has no ports");
  }
  if (target.kind == ProbeKind::tcp_syn && target.port == 0) {
    return bad_target(text, "no port is given");
  }
  return target;
}

base::Result<std::vector<probe::ProbeTarget>> resolve_targets(const std::vector<std::string>& texts, const TargetDefaults& defaults,
                                                              int family) {
  std::vector<probe::ProbeTarget> targets;
  for (const std::string& text : texts) {
    const base::Result<TargetText> parsed = parse_target(text, defaults);
    if (!parsed) {
      return parsed.error();
    }
    base::Result<probe::Endpoint> endpoint = probe::resolve_endpoint(parsed->host, family);
    if (!endpoint) {
      return endpoint.error();
    }
    probe::ProbeTarget target;
    target.name = text;
    target.kind = parsed->kind;
    target.to = *endpoint;
    target.to.port = parsed->port;
    target.http_path = parsed->path;
    const bool written_out = parsed->host.find(':') != std::string::npos;
    target.http_host = written_out ? "[" + parsed->host + "]" : parsed->host;
    if (parsed->port != http_port) {
      target.http_host += fmt::format(":{}", parsed->port);
    }
    targets.push_back(std::move(target));
  }
  return targets;
}

base::Result<std::vector<std::string>> read_target_file(const std::string& path) {
  const base::Result<std::string> text = base::read_file(path == "-" ? "/dev/stdin" : path);
  if (!text) {
    return text.error();
  }
  std::vector<std::string> targets;
  for (const std::string_view line : base::split(*text, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (!fields.empty() && !fields.front().starts_with('#')) {
      targets.emplace_back(fields.front());
    }
  }
  return targets;
}

base::Result<probe::PortRange> parse_port_range(const std::string& text) {
  const std::size_t dash = text.find('-');
  const auto first = base::parse_number<std::uint16_t>(std::string_view(text).substr(0, dash));
  const auto last = dash == std::string::npos ? first : base::parse_number<std::uint16_t>(std::string_view(text).substr(dash + 1));
  if (!first || !last || *first == 0 || *last < *first) {
    return base::Error{"use", "--source-port " + text, "not a port or a range of ports", "Give for example 40000 or 40000-40063."};
  }
  return probe::PortRange{*first, *last};
}

}  // namespace stallscope::cli
