// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/owned_fd.h"
#include "probe/test_netns.h"

namespace stallscope::probe {

/// A host that a test plays itself, behind a tun device: it answers echo requests and SYNs over IPv4 when the test says, as often
/// as the test says, and keeps when it did. SYNs are answered by SYN-ACKs to even ports and by resets to odd ones.
class TunHost {
 public:
  /// After which delays the `number`-th packet (from 0) is answered: none for loss, several for duplicates.
  using Behaviour = std::function<std::vector<std::int64_t>(std::int64_t number)>;

  /// Makes the device `tun`, with `address` ("10.8.0.1/24") on this side; every other address of the network is the host's. Needs
  /// root; throws std::runtime_error.
  TunHost(const TestNetns& netns, const std::string& address, Behaviour behaviour);
  ~TunHost();
  TunHost(const TunHost&) = delete;
  TunHost& operator=(const TunHost&) = delete;
  TunHost(TunHost&&) = delete;
  TunHost& operator=(TunHost&&) = delete;

  struct Seen {
    std::int64_t received_ns = 0;
    /// Just before and just after each answer was given to the kernel.
    std::vector<std::pair<std::int64_t, std::int64_t>> answered_ns;
  };
  /// Of every packet that came, by its number. Call it when no more are under way.
  [[nodiscard]] std::vector<Seen> seen();

 private:
  struct Answer {
    std::size_t number = 0;
    std::vector<std::byte> packet;
  };
  void run();
  void take(std::vector<std::byte> packet);

  base::OwnedFd tun_;
  base::OwnedFd stop_;
  Behaviour behaviour_;
  std::mutex mutex_;
  std::vector<Seen> seen_;
  std::multimap<std::int64_t, Answer> due_;
  std::thread thread_;
};

}  // namespace stallscope::probe
