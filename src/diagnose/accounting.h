// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/units.h"
#include "diagnose/diagnosis.h"

namespace stallscope::diagnose {

/// After a wait the network stack may take this long to work off what had queued up: net_rx_action gives up after
/// net.core.netdev_budget_usecs (2 jiffies, 8 ms at HZ=250, but 300 packets take far less) and softirqs after MAX_SOFTIRQ_TIME, 2
/// ms (kernel/softirq.c). What takes longer is not explained by that.
inline constexpr std::int64_t catch_up_limit_ns = 2 * base::ns_per_ms;

/// Divides [start_ns, end_ns) among the waits in it, and each wait's part among its occupants in proportion to what they are known
/// to have held. Where waits overlap, time goes to the one whose mode says most (the order of WaitMode). The shares' lengths add up
/// to end_ns - start_ns exactly; the longest comes first.
[[nodiscard]] std::vector<Share> account(const evidence::Evidence& evidence, std::int64_t start_ns, std::int64_t end_ns,
                                         std::span<const std::size_t> waits);

}  // namespace stallscope::diagnose
