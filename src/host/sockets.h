// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/counters.h"
#include "host/file_tree.h"

// What waits in the sockets of a network namespace: that of the calling thread, whose files lie below /proc/thread-self/net.
namespace stallscope::host {

struct SocketState {
  /// "tcp", "tcp6", "udp", "udp6".
  std::string protocol;
  /// "10.0.1.2:8080", "[::]:53".
  std::string local_address;
  bool listening = false;
  /// Bytes received and not read; of a listening socket, connections not accepted.
  std::int64_t queued = 0;
  /// Packets dropped for want of room since the socket was made; -1 for TCP, whose files do not say.
  std::int64_t drop_count = -1;
  std::uint64_t inode = 0;
  /// To one peer: of UDP, by connect(2).
  bool connected = false;

  friend bool operator==(const SocketState&, const SocketState&) = default;
};

/// Sockets of UDP and TCP that belong to a process. A namespace without IPv6 has no files for it.
[[nodiscard]] base::Result<std::vector<SocketState>> read_sockets(const FileTree& files = {});

/// One of those files (net/ipv4/tcp_ipv4.c, udp.c; net/ipv6 has the same columns). Rows of no socket (inode 0) are left out.
[[nodiscard]] base::Result<std::vector<SocketState>> parse_sockets(std::string_view text, std::string_view protocol);

/// "tcp.listen_overflows" and "tcp.listen_drops" of /proc/net/netstat, with CPU -1.
[[nodiscard]] base::Result<std::vector<CounterValue>> read_listen_counters(const FileTree& files = {});

struct SocketOwner {
  std::int32_t pid = 0;
  std::string comm;
};
/// One process for each of the sockets, by inode, as far as their descriptors may be looked at. Goes through all processes.
[[nodiscard]] std::map<std::uint64_t, SocketOwner> find_socket_owners(const std::set<std::uint64_t>& inodes);
/// The same, but only through these processes.
[[nodiscard]] std::map<std::uint64_t, SocketOwner> find_socket_owners(const std::set<std::uint64_t>& inodes,
                                                                      const std::vector<std::int32_t>& pids);
/// The processes there are.
[[nodiscard]] std::vector<std::int32_t> list_processes();

}  // namespace stallscope::host
