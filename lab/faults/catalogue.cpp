// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/catalogue.h"

#include <array>
#include <string>

#include "lab/faults/accept-overflow/fault.h"
#include "lab/faults/backlog-drops/fault.h"
#include "lab/faults/bh-off-section/fault.h"
#include "lab/faults/cfs-throttled/fault.h"
#include "lab/faults/direct-reclaim/fault.h"
#include "lab/faults/hung-task/fault.h"
#include "lab/faults/iptables-rules/fault.h"
#include "lab/faults/irq-off-section/fault.h"
#include "lab/faults/ksoftirqd-starved/fault.h"
#include "lab/faults/memcg-stat-flush/fault.h"
#include "lab/faults/napi-flood/fault.h"
#include "lab/faults/napi-thread-starved/fault.h"
#include "lab/faults/nft-rules/fault.h"
#include "lab/faults/numa-stat-read/fault.h"
#include "lab/faults/slab-shrink/fault.h"
#include "lab/faults/slabinfo-read/fault.h"
#include "lab/faults/slow-tc/fault.h"
#include "lab/faults/slow-xdp/fault.h"
#include "lab/faults/softirq-vector/fault.h"
#include "lab/faults/unread-socket/fault.h"
#include "lab/faults/zombie-release/fault.h"

namespace stallscope::lab {
namespace {

constexpr std::array known_faults = {
    &accept_overflow::fault,   &backlog_drops::fault,    &bh_off_section::fault, &cfs_throttled::fault,
    &direct_reclaim::fault,    &hung_task::fault,        &iptables_rules::fault, &irq_off_section::fault,
    &ksoftirqd_starved::fault, &memcg_stat_flush::fault, &napi_flood::fault,     &napi_thread_starved::fault,
    &nft_rules::fault,         &numa_stat_read::fault,   &slab_shrink::fault,    &slabinfo_read::fault,
    &slow_tc::fault,           &slow_xdp::fault,         &softirq_vector::fault, &unread_socket::fault,
    &zombie_release::fault,
};

}  // namespace

std::span<const Fault* const> faults() {
  return known_faults;
}

base::Result<const Fault*> find_fault(std::string_view id) {
  std::string known;
  for (const Fault* fault : known_faults) {
    if (fault->id == id) {
      return fault;
    }
    known += (known.empty() ? "" : ", ") + std::string(fault->id);
  }
  return base::Error{"run fault", std::string(id), "the lab has no fault of that name", "Faults: " + known};
}

}  // namespace stallscope::lab
