// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

#include <functional>
#include <string>

#include "base/owned_fd.h"
#include "probe/netns.h"

namespace stallscope::probe {

/// A network namespace for a test, with its loopback up. It has no name and lives as long as this object, a socket or a process
/// in it: whatever ends the test, nothing of it stays behind. Needs root; the functions throw std::runtime_error on failure.
class TestNetns {
 public:
  TestNetns();

  /// For NetworkNamespace::open and for `ip link ... netns`.
  [[nodiscard]] const std::string& path() const { return path_; }

  void run(const std::function<void()>& action) const;
  /// The standard output of a shell command run in the namespace.
  [[nodiscard]] std::string output_of(const std::string& command) const;
  /// Runs `ip` with these arguments.
  void ip(const std::string& arguments) const;
  /// Sets a file of /proc/sys/net/ipv4, which is the namespace's own.
  void set_ipv4(const std::string& name, const std::string& value) const;

 private:
  base::OwnedFd fd_;
  std::string path_;
};

/// The address that `text` says.
[[nodiscard]] in_addr address(const std::string& text);

/// Joins two namespaces by a veth pair named `veth` on both sides, up, with an IPv4 address and prefix length for each.
void join(const TestNetns& left, const std::string& left_address, const TestNetns& right, const std::string& right_address);

}  // namespace stallscope::probe
