// SPDX-License-Identifier: Apache-2.0
#include "probe/receive_clock.h"

#include <cstdlib>

namespace stallscope::probe {

void ReceiveClock::observe(std::int64_t now_ns, std::int64_t realtime_offset_ns) {
  now_ns_ = now_ns;
  stepped_in_batch_ = offset_ns_.has_value() && std::abs(realtime_offset_ns - *offset_ns_) > step_threshold_ns;
  steps_ += stepped_in_batch_ ? 1 : 0;
  offset_ns_ = realtime_offset_ns;
}

std::int64_t ReceiveClock::to_monotonic(std::optional<std::int64_t> received_realtime_ns, std::int64_t sent_ns) {
  if (received_realtime_ns && !stepped_in_batch_) {
    const std::int64_t received_ns = *received_realtime_ns - offset_ns_.value_or(0);
    if (received_ns >= sent_ns && received_ns <= now_ns_) {
      return received_ns;
    }
  }
  ++replaced_;
  return now_ns_;
}

}  // namespace stallscope::probe
