// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::probe {

/// Keeps a network namespace open (and thereby alive).
class NetworkNamespace {
 public:
  /// Where ip-netns(8) keeps namespaces by name.
  static constexpr const char* named_directory = "/run/netns";

  /// `name` is a name known to `ip netns`, or, where it contains a slash, a path such as /proc/4121/ns/net. The error tells a
  /// missing one from a file that is something else.
  [[nodiscard]] static base::Result<NetworkNamespace> open(const std::string& name);
  /// That of the calling thread.
  [[nodiscard]] static base::Result<NetworkNamespace> own();

  /// As given to open().
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Identifies the namespace among those alive; the tracer's records carry the same number.
  [[nodiscard]] std::uint64_t inode() const { return inode_; }

  /// Moves the calling thread into the namespace, for good. Needs CAP_SYS_ADMIN.
  [[nodiscard]] base::Status enter() const;

 private:
  NetworkNamespace(std::string name, base::OwnedFd fd, std::uint64_t inode);

  std::string name_;
  base::OwnedFd fd_;
  std::uint64_t inode_;
};

/// Calls `action` in the namespace, on a thread of its own that ends with it: the caller's namespace never changes. Blocks until
/// `action` has returned. Sockets opened by `action` stay in the namespace. Where the namespace cannot be entered, `action` is not
/// called and the error says why.
[[nodiscard]] base::Status run_in_netns(const NetworkNamespace& netns, const std::function<void()>& action);

}  // namespace stallscope::probe
