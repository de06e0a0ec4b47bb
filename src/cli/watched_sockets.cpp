// SPDX-License-Identifier: Apache-2.0
#include "cli/watched_sockets.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "probe/netns.h"

namespace stallscope::cli {

using base::Result;
using base::Status;

Result<SocketSnapshot> look_at_sockets(const std::string& netns_path) {
  SocketSnapshot snapshot;
  Status looked = base::ok();
  const auto look = [&] {
    Result<std::vector<host::SocketState>> sockets = host::read_sockets();
    Result<std::vector<host::CounterValue>> counters = host::read_listen_counters();
    if (!sockets || !counters) {
      looked = sockets ? counters.error() : sockets.error();
      return;
    }
    snapshot = {std::move(*sockets), std::move(*counters)};
  };
  if (netns_path.empty()) {
    look();
  } else {
    const Result<probe::NetworkNamespace> netns = probe::NetworkNamespace::open(netns_path);
    if (!netns) {
      return netns.error();
    }
    if (const Status ran = probe::run_in_netns(*netns, look); !ran) {
      return ran.error();
    }
  }
  return looked ? Result<SocketSnapshot>(std::move(snapshot)) : looked.error();
}

std::vector<evidence::SocketRecord> sockets_behind(const SocketSnapshot& before, const SocketSnapshot& after) {
  constexpr std::size_t most_records = 100;
  std::map<std::uint64_t, const host::SocketState*> earlier;
  for (const host::SocketState& state : before.sockets) {
    earlier[state.inode] = &state;
  }
  std::vector<evidence::SocketRecord> records;
  for (const host::SocketState& state : after.sockets) {
    const auto found = earlier.find(state.inode);
    const host::SocketState* old = found == earlier.end() ? nullptr : found->second;
    evidence::SocketRecord record;
    record.protocol = state.protocol;
    record.local_address = state.local_address;
    record.listening = state.listening;
    record.queued_before = old == nullptr ? -1 : old->queued;
    record.queued_after = state.queued;
    record.drop_count =
        state.drop_count < 0 ? -1 : std::max<std::int64_t>(0, state.drop_count - (old == nullptr ? 0 : old->drop_count));
    record.inode = state.inode;
    if (record.queued_after > 0 || record.drop_count > 0) {
      records.push_back(std::move(record));
    }
  }
  std::stable_sort(records.begin(), records.end(), [](const evidence::SocketRecord& a, const evidence::SocketRecord& b) {
    return std::tie(a.drop_count, a.queued_after) > std::tie(b.drop_count, b.queued_after);
  });
  records.resize(std::min(records.size(), most_records));

  std::set<std::uint64_t> inodes;
  for (const evidence::SocketRecord& record : records) {
    inodes.insert(record.inode);
  }
  const std::map<std::uint64_t, host::SocketOwner> owners = host::find_socket_owners(inodes);
  for (evidence::SocketRecord& record : records) {
    if (const auto owner = owners.find(record.inode); owner != owners.end()) {
      record.pid = owner->second.pid;
      record.comm = owner->second.comm;
    }
  }
  return records;
}

}  // namespace stallscope::cli
