// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/file_tree.h"
#include "rss/receive_queues.h"

// Asks the kernel how a network device distributes what it receives. Of the network namespace of the calling thread.
namespace stallscope::host {

/// Everything that can be found out without privileges and without changing anything; what cannot becomes a note. An error only
/// where there is no such device. Asks, in this order, for
/// - key, table, function and transform: ETHTOOL_MSG_RSS_GET (Linux 6.2), else ETHTOOL_GRSSH (3.16; input_xfrm since 6.8);
/// - fields by protocol: ETHTOOL_GRXFH (2.6.27); the number of rings: ETHTOOL_GRXRINGS;
/// - RPS: rps_cpus in sysfs (2.6.35). sysfs shows the devices of the namespace it was mounted in, so a private one is mounted;
/// without
///   CAP_SYS_ADMIN that of the process is read, or, where the thread is in another namespace, a note says so;
/// - interrupts: /proc/interrupts, effective_affinity_list (4.13).
/// With files of another machine only they are read.
[[nodiscard]] base::Result<rss::ReceiveQueues> read_receive_queues(const std::string& device, const FileTree& files = {});

/// The devices of the calling thread's namespace.
[[nodiscard]] std::vector<std::string> network_devices();

/// "f", "00000000,00000003": the CPUs of a mask as sysfs writes it, in order. Nothing for anything else.
[[nodiscard]] std::optional<std::vector<std::int32_t>> parse_cpu_mask(std::string_view text);

/// The RX queue an interrupt serves, by the name drivers give it in /proc/interrupts: "eth0-TxRx-3", "i40e-eth0-TxRx-3",
/// "mlx5_comp3@pci:0000:3b:00.0", "virtio2-input.3". `bus_name` is the device's on its bus ("virtio2", "0000:3b:00.0").
[[nodiscard]] std::optional<std::int32_t> queue_of_interrupt(std::string_view name, std::string_view device,
                                                             std::string_view bus_name);

}  // namespace stallscope::host
