// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "census/blocked_tasks.h"
#include "cli/throttled_servers.h"
#include "cli/watched_sockets.h"
#include "evidence/bundle.h"
#include "host/counters.h"

namespace stallscope::cli {

/// What the host counts or holds, looked at when a recording begins and again when it ends.
class BeforeAndAfter {
 public:
  /// Looks for the first time. `netns_path`: of the network namespace whose sockets matter, as look_at_sockets takes it; nothing
  /// where none on this host does.
  explicit BeforeAndAfter(std::optional<std::string> netns_path);

  /// Looks again and adds what happened in between. What could not be read becomes a gap; an error is the bundle's.
  [[nodiscard]] base::Status add_to(evidence::BundleWriter& bundle) const;

 private:
  [[nodiscard]] base::Status add_counters(evidence::BundleWriter& bundle) const;
  [[nodiscard]] base::Status add_sockets(evidence::BundleWriter& bundle) const;
  [[nodiscard]] base::Status add_throttled_servers(evidence::BundleWriter& bundle) const;
  [[nodiscard]] base::Status add_blocked_tasks(evidence::BundleWriter& bundle) const;

  std::optional<std::string> netns_path_;
  base::Result<std::vector<host::CounterValue>> counters_;
  base::Result<census::BlockedThreads> blocked_;
  std::optional<base::Result<SocketSnapshot>> sockets_;
  /// Nothing where the sockets are not known either.
  std::optional<base::Result<std::vector<LimitedServer>>> limited_servers_;
};

}  // namespace stallscope::cli
