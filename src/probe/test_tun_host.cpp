// SPDX-License-Identifier: Apache-2.0
#include "probe/test_tun_host.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <stdexcept>

#include "base/clock.h"
#include "base/units.h"
#include "probe/echo_packet.h"
#include "probe/tcp_packet.h"
#include "probe/wire.h"

namespace stallscope::probe {
namespace {

constexpr std::size_t protocol_at = 9;
constexpr std::byte icmp{1};
constexpr std::byte tcp{6};

/// Turns a request into its answer in place; false for what is no request.
bool make_answer(std::vector<std::byte>& packet) {
  const std::span<std::byte> bytes = packet;
  if (packet.size() < ipv4_header_bytes + 8) {
    return false;
  }
  std::swap_ranges(bytes.begin() + 12, bytes.begin() + 16, bytes.begin() + 16);
  const std::span<std::byte> payload = bytes.subspan(ipv4_header_bytes);
  if (packet[protocol_at] == icmp && payload[0] == std::byte{8}) {
    payload[0] = payload[2] = payload[3] = std::byte{0};
    store_big_endian(payload.subspan(2), internet_checksum(payload));
    return true;
  }
  if (packet[protocol_at] != tcp || payload.size() < 20 || payload[13] != std::byte{2}) {
    return false;
  }
  std::swap_ranges(payload.begin(), payload.begin() + 2, payload.begin() + 2);
  const bool open = (load_big_endian<std::uint16_t>(payload) % 2) == 0;
  const auto sequence = load_big_endian<std::uint32_t>(payload.subspan(4));
  store_big_endian(payload.subspan(4), open ? std::uint32_t{0x01020304} : std::uint32_t{0});
  store_big_endian(payload.subspan(8), sequence + 1);
  payload[13] = open ? std::byte{0x12} : std::byte{0x14};
  payload[16] = payload[17] = std::byte{0};
  std::vector<std::byte> summed(bytes.begin() + 12, bytes.begin() + 20);
  summed.insert(summed.end(), {std::byte{0}, tcp, std::byte{0}, static_cast<std::byte>(payload.size())});
  summed.insert(summed.end(), payload.begin(), payload.end());
  store_big_endian(payload.subspan(16), internet_checksum(summed));
  return true;
}

}  // namespace

TunHost::TunHost(const TestNetns& netns, const std::string& address, Behaviour behaviour)
    : stop_(eventfd(0, EFD_CLOEXEC)), behaviour_(std::move(behaviour)) {
  netns.run([&] {
    base::OwnedFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    ifreq request{};
    std::strncpy(request.ifr_name, "tun", IFNAMSIZ - 1);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (fd && ioctl(fd.get(), TUNSETIFF, &request) == 0) {
      tun_ = std::move(fd);
    }
  });
  if (!tun_ || !stop_) {
    throw std::runtime_error("cannot make a tun device; run this test as root");
  }
  netns.ip("addr add " + address + " dev tun");
  netns.ip("link set tun up");
  thread_ = std::thread([this] { run(); });
}

TunHost::~TunHost() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void TunHost::take(std::vector<std::byte> packet) {
  if (!make_answer(packet)) {
    return;
  }
  const std::int64_t now_ns = base::monotonic_ns();
  const std::size_t number = seen_.size();
  seen_.push_back({now_ns, {}});
  for (const std::int64_t delay_ns : behaviour_(static_cast<std::int64_t>(number))) {
    due_.emplace(now_ns + delay_ns, Answer{number, packet});
  }
}

void TunHost::run() {
  std::array<pollfd, 2> events{{{tun_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
  while (events[1].revents == 0) {
    const std::int64_t now_ns = base::monotonic_ns();
    const std::int64_t wait_ns = due_.empty() ? base::ns_per_s : std::max<std::int64_t>(0, due_.begin()->first - now_ns);
    const timespec timeout{wait_ns / base::ns_per_s, wait_ns % base::ns_per_s};
    ppoll(events.data(), events.size(), &timeout, nullptr);
    const std::lock_guard lock(mutex_);
    std::vector<std::byte> packet(2048);
    for (ssize_t got = 0; (got = ::read(tun_.get(), packet.data(), packet.size())) > 0;) {
      take({packet.begin(), packet.begin() + got});
    }
    while (!due_.empty() && due_.begin()->first <= base::monotonic_ns()) {
      const Answer& answer = due_.begin()->second;
      const std::int64_t before_ns = base::monotonic_ns();
      [[maybe_unused]] const ssize_t written = ::write(tun_.get(), answer.packet.data(), answer.packet.size());
      seen_[answer.number].answered_ns.emplace_back(before_ns, base::monotonic_ns());
      due_.erase(due_.begin());
    }
  }
}

std::vector<TunHost::Seen> TunHost::seen() {
  const std::lock_guard lock(mutex_);
  return seen_;
}

}  // namespace stallscope::probe
