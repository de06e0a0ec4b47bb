// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/owned_fd.h"
#include "base/result.h"
#include "host/ethtool_netlink.h"
#include "host/hardware_timestamping.h"

namespace stallscope::host {

/// ethtool's questions about one device, over a socket of the calling thread's network namespace. They change nothing.
class Ethtool {
 public:
  [[nodiscard]] static base::Result<Ethtool> open(const std::string& device);

  /// "veth", "virtio_net".
  [[nodiscard]] base::Result<std::string> driver() const;
  [[nodiscard]] base::Result<std::int32_t> ring_count() const;
  /// RXH_* that are hashed of packets of a flow type (TCP_V4_FLOW, ...).
  [[nodiscard]] base::Result<std::uint64_t> hashed_fields(std::uint32_t flow_type) const;
  [[nodiscard]] base::Result<std::int64_t> steering_rule_count() const;
  /// By netlink, else by ioctl, with the error of the latter.
  [[nodiscard]] base::Result<RssReply> receive_hash() const;
  [[nodiscard]] base::Result<HardwareTimestamping> hardware_timestamping() const;

 private:
  Ethtool(std::string device, base::OwnedFd socket) : device_(std::move(device)), socket_(std::move(socket)) {}
  /// 0, or the error number.
  [[nodiscard]] int call(unsigned long request, void* data) const;
  /// `command` begins with the command's number and takes the answer.
  [[nodiscard]] base::Status ask(void* command, const char* about) const;
  [[nodiscard]] base::Result<RssReply> hash_by_ioctl() const;
  [[nodiscard]] base::Result<RssReply> hash_by_netlink() const;

  std::string device_;
  base::OwnedFd socket_;
};

}  // namespace stallscope::host
