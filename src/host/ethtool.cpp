// SPDX-License-Identifier: Apache-2.0
#include "host/ethtool.h"

#include <linux/ethtool.h>
#include <linux/net_tstamp.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

namespace stallscope::host {
namespace {

/// More than any card has: what a driver says is not allocated without a limit.
constexpr std::uint32_t longest_table = 1U << 16U;
constexpr std::uint32_t longest_key = 1U << 12U;
/// A reply is one message; the largest table there is fits.
constexpr std::size_t reply_bytes = std::size_t{1} << 19U;
constexpr timeval patience = {.tv_sec = 2, .tv_usec = 0};

base::Result<std::vector<std::byte>> exchange(int socket, const std::vector<std::byte>& request) {
  if (::send(socket, request.data(), request.size(), 0) < 0) {
    return base::errno_error("ask over", "netlink", errno);
  }
  std::vector<std::byte> reply(reply_bytes);
  const ssize_t size = ::recv(socket, reply.data(), reply.size(), 0);
  if (size < 0) {
    return base::errno_error("ask over", "netlink", errno);
  }
  reply.resize(static_cast<std::size_t>(size));
  return reply;
}

}  // namespace

base::Result<Ethtool> Ethtool::open(const std::string& device) {
  if (device.empty() || device.size() >= IFNAMSIZ || ::if_nametoindex(device.c_str()) == 0) {
    return base::Error{"find", "network device " + device, "there is none of that name in this network namespace",
                       "ip link shows which there are"};
  }
  base::OwnedFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) {
    return base::errno_error("open", "a socket", errno);
  }
  return Ethtool(device, std::move(socket));
}

int Ethtool::call(unsigned long request, void* data) const {
  ifreq about{};
  std::memcpy(about.ifr_name, device_.data(), device_.size());
  about.ifr_data = static_cast<char*>(data);
  return ::ioctl(socket_.get(), request, &about) == 0 ? 0 : errno;
}

base::Status Ethtool::ask(void* command, const char* about) const {
  if (const int error_number = call(SIOCETHTOOL, command); error_number != 0) {
    return base::errno_error("ask about", std::string(about) + " of " + device_, error_number);
  }
  return base::ok();
}

base::Result<HardwareTimestamping> Ethtool::hardware_timestamping() const {
  ethtool_ts_info info{};
  info.cmd = ETHTOOL_GET_TS_INFO;
  if (const base::Status asked = ask(&info, "the timestamps"); !asked) {
    return asked.error();
  }
  hwtstamp_config config{};
  const bool told = call(SIOCGHWTSTAMP, &config) == 0;
  return hardware_timestamping_of(device_, info, told ? &config : nullptr);
}

base::Result<std::string> Ethtool::driver() const {
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  if (const base::Status asked = ask(&info, "the driver"); !asked) {
    return asked.error();
  }
  return std::string(info.driver, ::strnlen(info.driver, sizeof(info.driver)));
}

base::Result<std::int32_t> Ethtool::ring_count() const {
  ethtool_rxnfc rings{};
  rings.cmd = ETHTOOL_GRXRINGS;
  if (const base::Status asked = ask(&rings, "the receive rings"); !asked) {
    return asked.error();
  }
  return static_cast<std::int32_t>(std::min<std::uint64_t>(rings.data, longest_table));
}

base::Result<std::uint64_t> Ethtool::hashed_fields(std::uint32_t flow_type) const {
  ethtool_rxnfc fields{};
  fields.cmd = ETHTOOL_GRXFH;
  fields.flow_type = flow_type;
  if (const base::Status asked = ask(&fields, "the hashed fields"); !asked) {
    return asked.error();
  }
  return fields.data;
}

base::Result<std::int64_t> Ethtool::steering_rule_count() const {
  ethtool_rxnfc rules{};
  rules.cmd = ETHTOOL_GRXCLSRLCNT;
  if (const base::Status asked = ask(&rules, "the steering rules"); !asked) {
    return asked.error();
  }
  return rules.rule_cnt;
}

base::Result<RssReply> Ethtool::hash_by_ioctl() const {
  ethtool_rxfh sizes{};
  sizes.cmd = ETHTOOL_GRSSH;
  if (const base::Status asked = ask(&sizes, "receive hashing"); !asked) {
    return asked.error();
  }
  if (sizes.indir_size > longest_table || sizes.key_size > longest_key) {
    return base::Error{"ask about", "receive hashing of " + device_, "its table or key is longer than any card's", ""};
  }
  // Whole words, so that the structure is aligned; the key follows the table.
  const std::size_t table_bytes = sizes.indir_size * sizeof(std::uint32_t);
  std::vector<std::uint32_t> buffer((sizeof(sizes) + table_bytes + sizes.key_size + sizeof(std::uint32_t) - 1) /
                                    sizeof(std::uint32_t));
  const std::uint32_t given_table = sizes.indir_size;
  const std::uint32_t given_key = sizes.key_size;
  std::memcpy(buffer.data(), &sizes, sizeof(sizes));
  if (const base::Status asked = ask(buffer.data(), "receive hashing"); !asked) {
    return asked.error();
  }
  std::memcpy(&sizes, buffer.data(), sizeof(sizes));
  if (sizes.indir_size > given_table || sizes.key_size > given_key) {
    return base::Error{"ask about", "receive hashing of " + device_, "it changed meanwhile", "try again"};
  }
  RssReply reply;
  const auto content = std::as_bytes(std::span(buffer)).subspan(sizeof(sizes));
  reply.table.resize(sizes.indir_size);
  std::memcpy(reply.table.data(), content.data(), sizes.indir_size * sizeof(std::uint32_t));
  reply.key.resize(sizes.key_size);
  std::memcpy(reply.key.data(), content.subspan(sizes.indir_size * sizeof(std::uint32_t)).data(), sizes.key_size);
  if (sizes.hfunc != 0) {
    reply.hash_function = sizes.hfunc;
  }
  // The first reserved byte is input_xfrm since Linux 6.8; before, it is zero, and nothing was known of transforms.
  if (sizes.rsvd8[0] != 0) {
    reply.input_transform = sizes.rsvd8[0];
  }
  return reply;
}

base::Result<RssReply> Ethtool::hash_by_netlink() const {
  const base::OwnedFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
  if (!netlink) {
    return base::errno_error("open", "a netlink socket", errno);
  }
  // The kernel answers at once; where it is not the kernel that answers, do not hang.
  if (::setsockopt(netlink.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0) {
    return base::errno_error("set up", "a netlink socket", errno);
  }
  constexpr std::uint32_t family_sequence = 1;
  constexpr std::uint32_t rss_sequence = 2;
  const auto family_reply = exchange(netlink.get(), family_request(family_sequence, "ethtool"));
  if (!family_reply) {
    return family_reply.error();
  }
  const base::Result<std::uint16_t> family = parse_family_reply(*family_reply, family_sequence);
  if (!family) {
    return family.error();
  }
  const auto reply = exchange(netlink.get(), rss_request(*family, rss_sequence, device_));
  if (!reply) {
    return reply.error();
  }
  return parse_rss_reply(*reply, rss_sequence, device_);
}

base::Result<RssReply> Ethtool::receive_hash() const {
  base::Result<RssReply> reply = hash_by_netlink();
  return reply ? std::move(reply) : hash_by_ioctl();
}

}  // namespace stallscope::host
