// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace stallscope::trace {

/// Where one NET_RX run ends although there is more.
struct NapiBudget {
  std::int64_t packets = 300;
  std::int64_t duration_ns = 2'000'000;
};

/// net.core.netdev_budget and netdev_budget_usecs (Linux 4.12); what cannot be read is what the kernel starts with.
[[nodiscard]] NapiBudget read_napi_budget();

}  // namespace stallscope::trace
