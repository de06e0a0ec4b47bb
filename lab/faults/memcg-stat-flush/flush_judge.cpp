// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/flush_judge.h"

#include <algorithm>
#include <iterator>

#include "base/units.h"

namespace stallscope::lab::memcg_stat_flush {

FlushedBy FlushJudge::judge(std::int64_t length_ns, std::optional<bool> worker_ran) {
  if (worker_ran) {
    return *worker_ran ? FlushedBy::kernel_worker : FlushedBy::reader;
  }
  constexpr std::int64_t noise_ns = 300 * base::ns_per_us;
  if (!lengths_ns_.empty()) {
    const auto middle = lengths_ns_.begin() + std::ssize(lengths_ns_) / 2;
    std::nth_element(lengths_ns_.begin(), middle, lengths_ns_.end());
    const std::int64_t typical_ns = *middle;
    if (length_ns * 10 < typical_ns * 9 && typical_ns - length_ns > noise_ns) {
      return FlushedBy::kernel_worker;
    }
  }
  lengths_ns_.push_back(length_ns);
  return FlushedBy::reader;
}

}  // namespace stallscope::lab::memcg_stat_flush
