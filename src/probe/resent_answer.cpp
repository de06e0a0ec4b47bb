// SPDX-License-Identifier: Apache-2.0
#include "probe/resent_answer.h"

#include "base/units.h"

namespace stallscope::probe {
namespace {

constexpr std::int64_t first_timeout_ns = base::ns_per_s;
/// Timers of the far host tick every 1 to 10 ms, and its softirqs may be busy.
constexpr std::int64_t early_ns = 20 * base::ns_per_ms;
constexpr std::int64_t late_ns = 60 * base::ns_per_ms;
/// Beyond, nothing is outstanding any more (ProberOptions::longest_timeout_ns).
constexpr std::int64_t longest_ns = 64 * base::ns_per_s;

/// Whether so long after the SYN a SYN-ACK is sent again: 1 s, 3 s, 7 s, ...
bool is_time_to_resend(std::int64_t elapsed_ns) {
  std::int64_t timeout_ns = first_timeout_ns;
  for (std::int64_t due_ns = first_timeout_ns; due_ns <= longest_ns; due_ns += timeout_ns) {
    if (elapsed_ns >= due_ns - early_ns && elapsed_ns <= due_ns + late_ns) {
      return true;
    }
    timeout_ns *= 2;
  }
  return false;
}

}  // namespace

bool ResentAnswers::is_resent(std::int64_t sent_ns, std::int64_t received_ns, std::optional<std::uint32_t> far_timestamp_ms) {
  const std::int64_t rtt_ns = received_ns - sent_ns;
  if (!far_timestamp_ms) {
    return is_time_to_resend(rtt_ns - fastest_ns_);
  }
  const auto received_ms = static_cast<std::uint32_t>(received_ns / base::ns_per_ms);
  if (rtt_ns < first_timeout_ns - early_ns) {
    if (!offset_ms_ || rtt_ns < fastest_ns_) {
      offset_ms_ = *far_timestamp_ms - received_ms;
      fastest_ns_ = rtt_ns;
    }
    return false;
  }
  if (!offset_ms_) {
    return is_time_to_resend(rtt_ns);
  }
  // How long after the SYN left the answer did, by the far host's clock: the fastest round trip counts as the way there and back.
  const auto sent_ms = static_cast<std::uint32_t>((sent_ns + fastest_ns_) / base::ns_per_ms);
  const auto elapsed_ms = static_cast<std::int32_t>(*far_timestamp_ms - *offset_ms_ - sent_ms);
  return is_time_to_resend(elapsed_ms * base::ns_per_ms);
}

}  // namespace stallscope::probe
