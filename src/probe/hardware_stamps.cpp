// SPDX-License-Identifier: Apache-2.0
#include "probe/hardware_stamps.h"

#include <fmt/format.h>
#include <ifaddrs.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "base/text.h"
#include "host/ethtool.h"

namespace stallscope::probe {
namespace {

constexpr const char* without_them = "How long an answer lay in this host's own receive queue stays part of the path.";

std::set<std::string> devices_with(std::span<const Endpoint> addresses) {
  std::set<std::string> names;
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) {
    return names;
  }
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(found, &::freeifaddrs);
  for (const ifaddrs* entry = all.get(); entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_addr->sa_family != AF_INET && entry->ifa_addr->sa_family != AF_INET6)) {
      continue;
    }
    SocketAddress stored{};
    std::memcpy(&stored, entry->ifa_addr, entry->ifa_addr->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    const Endpoint address = endpoint_of(stored);
    if (std::any_of(addresses.begin(), addresses.end(), [&](const Endpoint& other) { return other.same_address(address); })) {
      names.insert(entry->ifa_name);
    }
  }
  return names;
}

}  // namespace

HardwareStampChoice choose_hardware_stamps(std::span<const host::HardwareTimestamping> devices) {
  HardwareStampChoice choice;
  for (const host::HardwareTimestamping& device : devices) {
    if (!device.may_receive() && !device.may_transmit()) {
      if (device.phc_index && device.can_receive && !choice.gap) {
        choice.gap = evidence::GapRecord{
            "hardware timestamps", fmt::format("{} can stamp every packet and is not set to", base::printable(device.device)),
            fmt::format("{} hwstamp_ctl -i DEVICE -r 1 -t 1 switches them on, for all programs.", without_them)};
      }
      continue;
    }
    if (choice.phc_index && choice.phc_index != device.phc_index) {
      choice = {};
      choice.gap = evidence::GapRecord{"hardware timestamps", "the probes leave by network cards with clocks of their own",
                                       fmt::format("{} Probe targets behind different cards in runs of their own.", without_them)};
      return choice;
    }
    choice.phc_index = device.phc_index;
    choice.receive = choice.receive || device.may_receive();
    choice.transmit = choice.transmit || device.may_transmit();
  }
  return choice;
}

HardwareStamps find_hardware_stamps(std::span<const Endpoint> sources) {
  std::vector<host::HardwareTimestamping> devices;
  for (const std::string& name : devices_with(sources)) {
    const base::Result<host::Ethtool> ethtool = host::Ethtool::open(name);
    if (!ethtool) {
      continue;
    }
    if (const base::Result<host::HardwareTimestamping> device = ethtool->hardware_timestamping()) {
      devices.push_back(*device);
    }
  }
  HardwareStampChoice choice = choose_hardware_stamps(devices);
  HardwareStamps stamps;
  stamps.gap = std::move(choice.gap);
  if (!choice.phc_index) {
    return stamps;
  }
  base::Result<Phc> phc = Phc::open(*choice.phc_index);
  if (!phc) {
    stamps.gap = evidence::GapRecord{"hardware timestamps", phc.error().object + ": " + phc.error().reason, without_them};
    return stamps;
  }
  // Shared, because std::function wants to be copied.
  stamps.clock.emplace([clock = std::make_shared<const Phc>(*std::move(phc))] { return clock->read(); });
  stamps.receive = choice.receive;
  stamps.transmit = choice.transmit;
  return stamps;
}

}  // namespace stallscope::probe
