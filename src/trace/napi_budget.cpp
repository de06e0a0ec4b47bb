// SPDX-License-Identifier: Apache-2.0
#include "trace/napi_budget.h"

#include <string>

#include "base/files.h"
#include "base/numbers.h"
#include "base/units.h"

namespace stallscope::trace {
namespace {

std::int64_t sysctl_or(const std::string& path, std::int64_t initial) {
  const base::Result<std::string> text = base::read_file(path);
  return text ? base::parse_number<std::int64_t>(text->substr(0, text->find('\n'))).value_or(initial) : initial;
}

}  // namespace

NapiBudget read_napi_budget() {
  const NapiBudget initial;
  return {sysctl_or("/proc/sys/net/core/netdev_budget", initial.packets),
          sysctl_or("/proc/sys/net/core/netdev_budget_usecs", initial.duration_ns / base::ns_per_us) * base::ns_per_us};
}

}  // namespace stallscope::trace
