// SPDX-License-Identifier: Apache-2.0
#include "rss/receive_queues.h"

#include <fmt/format.h>

#include <utility>

namespace stallscope::rss {

std::string_view packet_kind_id(PacketKind kind) {
  switch (kind) {
    case PacketKind::tcp4:
      return "tcp4";
    case PacketKind::udp4:
      return "udp4";
    case PacketKind::other4:
      return "ip4";
    case PacketKind::tcp6:
      return "tcp6";
    case PacketKind::udp6:
      return "udp6";
    case PacketKind::other6:
      break;
  }
  return "ip6";
}

std::string_view transform_id(InputTransform transform) {
  switch (transform) {
    case InputTransform::symmetric_xor:
      return "symmetric-xor";
    case InputTransform::symmetric_or_xor:
      return "symmetric-or-xor";
    case InputTransform::none:
      break;
  }
  return "none";
}

std::string cpu_list(const std::vector<std::int32_t>& cpus) {
  std::string text;
  for (std::size_t first = 0; first < cpus.size();) {
    std::size_t last = first;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) {
      ++last;
    }
    text += text.empty() ? "" : ",";
    text += first == last ? fmt::format("{}", cpus[first]) : fmt::format("{}-{}", cpus[first], cpus[last]);
    first = last + 1;
  }
  return text.empty() ? "none" : text;
}

std::string fields_text(std::uint64_t fields) {
  constexpr std::array<std::pair<std::uint64_t, std::string_view>, 4> single = {{{field_ip_source, "source address"},
                                                                                 {field_ip_destination, "destination address"},
                                                                                 {field_source_port, "source port"},
                                                                                 {field_destination_port, "destination port"}}};
  const std::uint64_t other = fields & ~(fields_addresses | fields_ports);
  std::string text;
  const auto append = [&](std::string_view name) {
    text += text.empty() ? "" : " and ";
    text += name;
  };
  for (const auto& [both, name] : {std::pair(fields_addresses, "addresses"), std::pair(fields_ports, "ports")}) {
    if ((fields & both) == both) {
      append(name);
      continue;
    }
    for (const auto& [field, field_name] : single) {
      if ((fields & both & field) != 0) {
        append(field_name);
      }
    }
  }
  if (other != 0) {
    append(fmt::format("others ({:#x})", other));
  }
  return text.empty() ? "nothing" : text;
}

}  // namespace stallscope::rss
