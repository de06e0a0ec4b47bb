// SPDX-License-Identifier: Apache-2.0
#include "lab/flood.h"
#include "lab/run_words.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "base/units.h"
#include "host/counters.h"
#include "host/kernel.h"
#include "lab/culprit.h"
#include "lab/topology.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

/// UDP_MAX_SEGMENTS (include/linux/udp.h).
constexpr std::int64_t segments_per_call = 64;
constexpr std::uint16_t discard_port = 9;

Status write_all(std::string_view device) {
  const std::string configuration = "/proc/sys/net/ipv4/conf/";
  for (const std::string_view of : {std::string_view("all"), device}) {
    // The flood's source address is the sending namespace's own.
    for (const auto& [name, value] : {std::pair("send_redirects", "0"), {"rp_filter", "0"}, {"accept_local", "1"}}) {
      if (Status written = base::write_file(fmt::format("{}{}/{}", configuration, of, name), value); !written) {
        return written;
      }
    }
  }
  return base::write_file("/proc/sys/net/ipv4/ip_forward", "1");
}

/// In the namespace it is called in.
Result<OwnedFd> open_sender() {
  // Of all that is on its way at once.
  constexpr int send_buffer_bytes = 512 * 1024 * 1024;
  constexpr int segment_bytes = 1;
  OwnedFd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(discard_port);
  ::inet_pton(AF_INET, "10.0.10.1", &address.sin_addr);
  if (!sender || ::setsockopt(sender.get(), SOL_SOCKET, SO_SNDBUFFORCE, &send_buffer_bytes, sizeof send_buffer_bytes) != 0 ||
      ::setsockopt(sender.get(), SOL_UDP, UDP_SEGMENT, &segment_bytes, sizeof segment_bytes) != 0 ||
      // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): what connect(2) takes
      ::connect(sender.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return base::errno_error("open", "a socket to flood from", errno);
  }
  return sender;
}

Result<int> another_cpu(int cpu) {
  for (const std::int32_t online : host::read_kernel().online_cpus) {
    if (online != cpu) {
      return online;
    }
  }
  return Error{"flood", fmt::format("CPU {}", cpu), "there is no other CPU online to send from", ""};
}

/// What IP of the calling thread's network namespace has counted.
struct IpCounts {
  /// InReceives: one for each hop of a packet.
  std::int64_t received = 0;
  /// InHdrErrors: packets whose hops were used up.
  std::int64_t ended = 0;
};

Result<IpCounts> ip_counts() {
  const Result<std::string> text = base::read_file("/proc/thread-self/net/snmp");
  if (!text) {
    return text.error();
  }
  std::vector<std::string_view> names;
  for (const std::string_view line : base::split(*text, '\n')) {
    const auto fields = base::split_fields(line);
    if (fields.empty() || fields.front() != "Ip:") {
      continue;
    }
    if (names.empty()) {
      names.assign(fields.begin(), fields.end());
      continue;
    }
    IpCounts counts;
    int found_count = 0;
    for (std::size_t index = 0; index < std::min(names.size(), fields.size()); ++index) {
      std::int64_t* const count = names[index] == "InReceives"    ? &counts.received
                                  : names[index] == "InHdrErrors" ? &counts.ended
                                                                  : nullptr;
      if (count != nullptr) {
        *count = std::stoll(std::string(fields[index]));
        ++found_count;
      }
    }
    if (found_count == 2) {
      return counts;
    }
  }
  return Error{"read", "/proc/net/snmp", "it has no Ip: InReceives and InHdrErrors", ""};
}

}  // namespace

Result<Flood> Flood::make(int receiving_cpu) {
  const Result<int> sending_cpu = another_cpu(receiving_cpu);
  if (!sending_cpu) {
    return sending_cpu.error();
  }
  if (Status pinned = pin_to_cpu(*sending_cpu); !pinned) {
    return pinned.error();
  }
  Result<PacketPath> path = make_packet_path();
  if (!path) {
    return path.error();
  }
  Status made = with_own_sysfs([&] {
    return base::write_file(fmt::format("/sys/class/net/{}/queues/rx-0/rps_cpus", receiving_device), cpu_mask(receiving_cpu));
  });
  for (const auto& step :
       {+[] { return write_all(receiving_device); }, +[] { return run_words("ip route add 10.0.10.0/24 via 10.0.9.1"); }}) {
    made = made ? step() : made;
  }
  made = made ? enter_netns(path->sending_netns) : made;
  for (const auto& step : {+[] { return write_all("lab0"); }, +[] { return run_words("ip route add 10.0.10.0/24 via 10.0.9.2"); },
                           // Has the device cut up what is sent before the other end gets it.
                           +[] { return run_words("ip link set lab0 gso_max_segs 1"); }}) {
    made = made ? step() : made;
  }
  if (!made) {
    return made.error();
  }
  Result<OwnedFd> sender = open_sender();
  if (!sender) {
    return sender.error();
  }
  if (Status entered = enter_netns(path->receiving_netns); !entered) {
    return entered.error();
  }
  return Flood(std::move(*path), std::move(*sender));
}

Result<Stall> Flood::send(std::int64_t packets_count, std::int64_t hops_count) {
  // Longer than any queue that is emptied at all rests.
  constexpr std::int64_t quiet_ns = 100 * base::ns_per_ms;
  constexpr timespec pause{0, base::ns_per_ms / 2};
  const int hops = static_cast<int>(hops_count);
  if (::setsockopt(sender_.get(), IPPROTO_IP, IP_TTL, &hops, sizeof hops) != 0) {
    return base::errno_error("set", "the hops of the flood", errno);
  }
  const Result<IpCounts> before = ip_counts();
  if (!before) {
    return before.error();
  }
  const std::array<char, segments_per_call> payload{};
  Stall stall;
  stall.start_ns = base::monotonic_ns();
  for (std::int64_t sent_count = 0; sent_count < packets_count; sent_count += segments_per_call) {
    const auto size = static_cast<std::size_t>(std::min(segments_per_call, packets_count - sent_count));
    if (::send(sender_.get(), payload.data(), size, 0) < 0) {
      return base::errno_error("send", "the flood", errno);
    }
  }
  // All go round together: for most of the time none of them ends.
  IpCounts last = *before;
  stall.end_ns = base::monotonic_ns();
  while (last.ended - before->ended < packets_count && base::monotonic_ns() - stall.end_ns < quiet_ns) {
    const Result<IpCounts> now = ip_counts();
    if (!now) {
      return now.error();
    }
    if (now->received != last.received) {
      last = *now;
      stall.end_ns = base::monotonic_ns();
    }
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
  stall.extras = {{"packets", packets_count}, {"received", last.ended - before->ended}};
  return stall;
}

Result<std::int64_t> softnet_count(std::string_view name, int cpu) {
  const Result<std::vector<host::CounterValue>> counters = host::read_counters();
  if (!counters) {
    return counters.error();
  }
  for (const host::CounterValue& counter : *counters) {
    if (counter.name == name && counter.cpu == cpu) {
      return counter.value;
    }
  }
  return Error{"read", "/proc/net/softnet_stat", fmt::format("it has no CPU {}", cpu), ""};
}

}  // namespace stallscope::lab
