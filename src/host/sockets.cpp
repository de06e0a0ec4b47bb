// SPDX-License-Identifier: Apache-2.0
#include "host/sockets.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>

#include "base/files.h"
#include "base/text.h"
#include "host/numbers.h"

namespace stallscope::host {
namespace {

constexpr std::array<std::string_view, 4> protocols = {"tcp", "tcp6", "udp", "udp6"};
constexpr std::string_view directory = "/proc/thread-self/net/";
constexpr int hexadecimal = 16;

// "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ref pointer drops"
constexpr std::size_t local_column = 1;
constexpr std::size_t state_column = 3;
constexpr std::size_t queues_column = 4;
constexpr std::size_t inode_column = 9;
constexpr std::size_t drops_column = 12;
// TCP_LISTEN (include/net/tcp_states.h).
constexpr std::string_view listen_state = "0A";
constexpr std::string_view established_state = "01";  // of connected UDP, too

/// "0201000A:1F90": each group of eight digits is a word in the byte order of the machine.
std::optional<std::string> parse_address(std::string_view text) {
  constexpr std::size_t word_digits = 8;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || (colon != word_digits && colon != 4 * word_digits)) {
    return std::nullopt;
  }
  const std::optional<std::uint16_t> port = parse_number<std::uint16_t>(text.substr(colon + 1), hexadecimal);
  std::array<std::uint32_t, 4> words{};
  for (std::size_t index = 0; index < colon / word_digits; ++index) {
    const auto word = parse_number<std::uint32_t>(text.substr(index * word_digits, word_digits), hexadecimal);
    if (!word) {
      return std::nullopt;
    }
    words[index] = *word;
  }
  const bool v4 = colon == word_digits;
  std::array<char, INET6_ADDRSTRLEN> name{};
  if (!port || ::inet_ntop(v4 ? AF_INET : AF_INET6, words.data(), name.data(), name.size()) == nullptr) {
    return std::nullopt;
  }
  return v4 ? fmt::format("{}:{}", name.data(), *port) : fmt::format("[{}]:{}", name.data(), *port);
}

std::optional<SocketState> parse_row(std::string_view line, std::string_view protocol) {
  const auto fields = base::split_fields(line);
  if (fields.size() <= inode_column) {
    return std::nullopt;
  }
  const std::optional<std::string> address = parse_address(fields[local_column]);
  const std::string_view queues = fields[queues_column];
  const std::size_t colon = queues.find(':');
  const auto queued =
      colon == std::string_view::npos ? std::nullopt : parse_number<std::int64_t>(queues.substr(colon + 1), hexadecimal);
  const auto inode = parse_number<std::uint64_t>(fields[inode_column]);
  if (!address || !queued || !inode) {
    return std::nullopt;
  }
  SocketState state;
  state.protocol = protocol;
  state.local_address = *address;
  state.listening = protocol.starts_with("tcp") && fields[state_column] == listen_state;
  state.connected = fields[state_column] == established_state;
  state.queued = *queued;
  state.inode = *inode;
  if (protocol.starts_with("udp") && fields.size() > drops_column) {
    state.drop_count = parse_number<std::int64_t>(fields[drops_column]).value_or(-1);
  }
  return state;
}

}  // namespace

base::Result<std::vector<SocketState>> parse_sockets(std::string_view text, std::string_view protocol) {
  std::vector<SocketState> sockets;
  bool header = true;
  for (const std::string_view line : base::split(text, '\n')) {
    if (std::exchange(header, false) || line.empty()) {
      continue;
    }
    std::optional<SocketState> state = parse_row(line, protocol);
    if (!state) {
      return base::Error{"read", std::string(directory) + std::string(protocol), "a row is not understood", ""};
    }
    if (state->inode != 0) {
      sockets.push_back(*std::move(state));
    }
  }
  return sockets;
}

base::Result<std::vector<SocketState>> read_sockets(const FileTree& files) {
  std::vector<SocketState> all;
  for (const std::string_view protocol : protocols) {
    const std::string path = std::string(directory) + std::string(protocol);
    if (protocol.ends_with('6') && files.exists(path) == false) {
      continue;
    }
    const base::Result<std::string> text = files.read(path);
    if (!text) {
      return text.error();
    }
    base::Result<std::vector<SocketState>> sockets = parse_sockets(*text, protocol);
    if (!sockets) {
      return sockets.error();
    }
    all.insert(all.end(), sockets->begin(), sockets->end());
  }
  return all;
}

base::Result<std::vector<CounterValue>> read_listen_counters(const FileTree& files) {
  const std::string path = std::string(directory) + "netstat";
  const base::Result<std::string> text = files.read(path);
  if (!text) {
    return text.error();
  }
  // Lines in pairs: "TcpExt: Name ..." and "TcpExt: 1 ...".
  std::vector<std::string_view> names;
  std::vector<CounterValue> counters;
  for (const std::string_view line : base::split(*text, '\n')) {
    const auto fields = base::split_fields(line);
    if (fields.empty() || fields.front() != "TcpExt:") {
      continue;
    }
    if (names.empty()) {
      names.assign(fields.begin(), fields.end());
      continue;
    }
    for (std::size_t index = 1; index < std::min(names.size(), fields.size()); ++index) {
      const std::string_view known = names[index] == "ListenOverflows" ? "tcp.listen_overflows"
                                     : names[index] == "ListenDrops"   ? "tcp.listen_drops"
                                                                       : "";
      const auto value = parse_number<std::int64_t>(fields[index]);
      if (!known.empty() && value) {
        counters.push_back({std::string(known), -1, *value});
      }
    }
  }
  if (counters.empty()) {
    return base::Error{"read", path, "it has no TcpExt: ListenOverflows", ""};
  }
  return counters;
}

std::vector<std::int32_t> list_processes() {
  std::vector<std::int32_t> pids;
  std::error_code error;
  for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
    if (const auto pid = parse_number<std::int32_t>(process.path().filename().string())) {
      pids.push_back(*pid);
    }
  }
  return pids;
}

std::map<std::uint64_t, SocketOwner> find_socket_owners(const std::set<std::uint64_t>& inodes) {
  return inodes.empty() ? std::map<std::uint64_t, SocketOwner>() : find_socket_owners(inodes, list_processes());
}

std::map<std::uint64_t, SocketOwner> find_socket_owners(const std::set<std::uint64_t>& inodes,
                                                        const std::vector<std::int32_t>& pids) {
  std::map<std::uint64_t, SocketOwner> owners;
  std::error_code error;
  for (const std::int32_t pid : pids) {
    const std::filesystem::path process = "/proc/" + std::to_string(pid);
    for (const auto& descriptor : std::filesystem::directory_iterator(process / "fd", error)) {
      std::string target = std::filesystem::read_symlink(descriptor.path(), error).string();
      constexpr std::string_view prefix = "socket:[";
      if (!target.starts_with(prefix)) {
        continue;
      }
      const auto inode =
          parse_number<std::uint64_t>(std::string_view(target).substr(prefix.size(), target.size() - prefix.size() - 1));
      if (inode && inodes.contains(*inode) && !owners.contains(*inode)) {
        base::Result<std::string> comm = base::read_file((process / "comm").string());
        std::string name = comm ? *comm : std::string{};
        name.erase(std::remove(name.begin(), name.end(), '\n'), name.end());
        owners[*inode] = {pid, name};
      }
    }
  }
  return owners;
}

}  // namespace stallscope::host
