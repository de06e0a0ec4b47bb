// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"
#include "lab/ground_truth.h"
#include "lab/packet_path.h"

// For faults by many packets. They are sent as few large ones that the device cuts into many (UDP_SEGMENT), because one CPU
// receives as fast as another can send packets one by one. The two namespaces of the path route the flood's address to each other,
// so that each packet is received once per hop: a flood takes as long as wanted without more packets than a queue holds.
namespace stallscope::lab {

class Flood {
 public:
  /// Leaves the calling process in the receiving namespace, on another CPU than `receiving_cpu`, which there has to be.
  [[nodiscard]] static base::Result<Flood> make(int receiving_cpu);

  /// Sends `packets_count` packets, each of which is received `hops_count` (odd, at most 255) times, and waits until the last of
  /// them is gone: what is dropped underway is not waited for.
  [[nodiscard]] base::Result<Stall> send(std::int64_t packets_count, std::int64_t hops_count);

 private:
  Flood(PacketPath path, base::OwnedFd sender) : path_(std::move(path)), sender_(std::move(sender)) {}

  PacketPath path_;
  /// Of UDP, connected to the address that neither namespace has.
  base::OwnedFd sender_;
};

/// One of the kernel's counts of receiving on a CPU since it booted; for names see host::CounterValue.
[[nodiscard]] base::Result<std::int64_t> softnet_count(std::string_view name, int cpu);

}  // namespace stallscope::lab
