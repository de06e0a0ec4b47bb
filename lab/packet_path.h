// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"
#include "lab/ground_truth.h"

// For faults in the work of receiving itself: packets that the culprit sends to itself, on its own CPU, through a device of its
// own.
namespace stallscope::lab {

/// Two network namespaces of the process's own that go with it, joined by a veth pair:
///
///   lab0 10.0.9.1/24 --------- lab1 10.0.9.2/24
///
/// What is sent into lab0 is received on lab1 by the CPU it was sent on. Nobody else sends anything there but the kernel, whose
/// neighbours are given, so that it asks for none.
struct PacketPath {
  base::OwnedFd sending_netns;
  base::OwnedFd receiving_netns;
  /// Of UDP. The first is connected to the second, port 9 (discard).
  base::OwnedFd sender;
  base::OwnedFd receiver;
  int receiving_interface_index = 0;
};

inline constexpr std::string_view receiving_device = "lab1";

/// Leaves the calling process in the receiving namespace. Needs CAP_SYS_ADMIN and iproute2.
[[nodiscard]] base::Result<PacketPath> make_packet_path();

/// Moves the calling thread into one of the two.
[[nodiscard]] base::Status enter_netns(const base::OwnedFd& netns);

/// Sends one packet and waits until it can be read. The times of both: what lies between them, the work of receiving was. Where it
/// was not received within the sending, the stall names no process.
[[nodiscard]] base::Result<Stall> pass_packet(const PacketPath& path);

/// The same through a BPF program that writes down when it began and ended with the packet: those times.
[[nodiscard]] base::Result<Stall> pass_packet_through(const Fault& fault, const PacketPath& path, const __u64& started_ns,
                                                      const __u64& ended_ns);

/// Runs `action` with a /sys that shows the calling process's network namespace.
[[nodiscard]] base::Status with_own_sysfs(const std::function<base::Status()>& action);

}  // namespace stallscope::lab
