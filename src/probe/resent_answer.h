// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace stallscope::probe {

/// Tells a SYN-ACK that was sent again, because the first was lost, from one that is merely late. A host that gets no ACK sends its
/// SYN-ACK again 1 s, 3 s, 7 s ... after the SYN came (TCP_TIMEOUT_INIT and doubling, net/ipv4/inet_connection_sock.c). When it was
/// sent, the timestamp option of RFC 7323 tells by the far host's clock, which Linux counts in ms; where that clock stands follows
/// from the fastest answer of the same target. So an answer that was sent promptly and took a second to arrive is late; one that
/// the far host sent a second after it should have is taken for resent. A SYN that waited for just so long in the far host's
/// receive queue cannot be told from that. Pure; one for each target, whose offset between the clocks is one (secure_tcp_ts_off
/// depends on addresses alone).
class ResentAnswers {
 public:
  /// `sent_ns`: when the SYN left. `far_timestamp_ms`: of the answer, where it has the option.
  [[nodiscard]] bool is_resent(std::int64_t sent_ns, std::int64_t received_ns, std::optional<std::uint32_t> far_timestamp_ms);

 private:
  /// far clock - ours, in ms modulo 2^32, from the answer with the shortest round trip.
  std::optional<std::uint32_t> offset_ms_;
  std::int64_t fastest_ns_ = 0;
};

}  // namespace stallscope::probe
