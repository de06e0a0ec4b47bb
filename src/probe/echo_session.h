// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "evidence/records.h"
#include "probe/echo_packet.h"

namespace stallscope::probe {

/// `count` probes, one every `interval_ns`.
struct EchoSchedule {
  std::int64_t interval_ns = 0;
  std::int64_t count = 0;
};

/// A probe whose time has come.
struct DueProbe {
  std::int64_t sequence = 0;
  std::int64_t intended_ns = 0;
};

/// What became of a reply.
enum class ReplyVerdict : std::uint8_t {
  /// The first answer to an outstanding probe.
  answered,
  /// Answered before.
  duplicate,
  /// Another program's, of another session, or of a probe too old to be told apart.
  foreign,
};

/// What a session counted.
struct SessionCounts {
  std::int64_t sent = 0;
  std::int64_t answered = 0;
  std::int64_t lost = 0;
  std::int64_t duplicates = 0;
  std::int64_t foreign = 0;
  /// Sends the system refused; such a probe has no record, because it was never on the network.
  std::int64_t send_failed = 0;
  /// Probes dropped from the schedule because the sender stood still for too long (see catch_up_limit); no record either.
  std::int64_t skipped = 0;
  std::int64_t worst_own_lateness_ns = 0;
};

/// The bookkeeping of one run of echo probes: schedule, outstanding probes and their scores. Pure: it is told every time and does
/// no I/O. Not thread-safe. Memory is allocated by the constructor and by finish() alone, as long as the caller takes the finished
/// records at least every `finished_capacity` calls.
///
/// A probe is late or lost, never both: a reply counts whenever it comes before finish(), or before its slot is needed for the
/// probe `window` sequences later.
class EchoSession {
 public:
  /// How many probes can be outstanding: the wire's sequence has 16 bits, so an older reply cannot be told from a newer one.
  static constexpr std::int64_t window = 65536;
  /// Probes that are overdue by more than this many are not sent: a sender that was suspended for an hour would flood the network.
  /// Half the window, so that a burst never comes near it: at 10,000 probes/s that is a freeze of 3.3 s.
  static constexpr std::int64_t catch_up_limit = window / 2;
  static constexpr std::size_t finished_capacity = 4096;

  EchoSession(const EchoSchedule& schedule, std::uint16_t identifier, std::uint64_t token);

  /// The first probe is due at `start_ns`. To be called once, before anything else: apart from the constructor because that takes
  /// a while, in which the first probes would grow late.
  void begin(std::int64_t start_ns) { start_ns_ = start_ns; }

  /// The next probe if it is due at `now_ns`. Overdue probes come one by one, in order, each with its own intended time.
  [[nodiscard]] std::optional<DueProbe> next_due(std::int64_t now_ns);
  /// When the next probe is due; nothing after the last one.
  [[nodiscard]] std::optional<std::int64_t> next_send_ns() const;
  /// What goes on the wire for a probe.
  [[nodiscard]] EchoLabel label(const DueProbe& probe) const;
  /// `probe` left at `sent_ns`, the time just before the system was asked to send it.
  void sent(const DueProbe& probe, std::int64_t sent_ns, std::int32_t sender_cpu);
  /// The system refused to send `probe`.
  void send_failed();
  /// No further probe is sent; those outstanding are still awaited.
  void stop_sending();

  /// The probe a reply claims to answer, if it is outstanding: for placing its timestamp before it is scored.
  [[nodiscard]] const evidence::ProbeRecord* outstanding(const EchoReply& reply) const;
  ReplyVerdict received(const EchoReply& reply, std::int64_t received_ns);
  /// Whether an ICMP error quotes a probe of this session.
  [[nodiscard]] bool is_ours(const QuotedRequest& quoted) const;

  [[nodiscard]] std::int64_t outstanding_count() const { return outstanding_count_; }
  [[nodiscard]] std::int64_t last_sent_ns() const { return last_sent_ns_; }
  [[nodiscard]] std::optional<std::int64_t> last_received_ns() const { return last_received_ns_; }

  /// Probes whose fate is known, in the order in which it became known.
  [[nodiscard]] std::span<const evidence::ProbeRecord> finished() const { return finished_; }
  void clear_finished() { finished_.clear(); }
  /// Declares every outstanding probe lost, in order of sequence.
  void finish();

  [[nodiscard]] const SessionCounts& counts() const { return counts_; }

 private:
  enum class SlotState : std::uint8_t { unused, outstanding, answered };
  struct Slot {
    evidence::ProbeRecord probe;
    SlotState state = SlotState::unused;
  };

  [[nodiscard]] std::optional<std::int64_t> unwrap(std::uint16_t wire_sequence) const;
  [[nodiscard]] const Slot* slot_of(const EchoReply& reply) const;
  [[nodiscard]] std::size_t slot_index(std::int64_t sequence) const;
  void lose(Slot& slot);

  EchoSchedule schedule_;
  std::int64_t start_ns_ = 0;
  std::uint16_t identifier_;
  std::uint64_t token_;
  std::int64_t next_sequence_ = 0;
  std::vector<Slot> slots_;
  std::int64_t outstanding_count_ = 0;
  std::int64_t last_sent_ns_ = 0;
  std::optional<std::int64_t> last_received_ns_;
  std::vector<evidence::ProbeRecord> finished_;
  SessionCounts counts_;
};

/// When to stop waiting for outstanding probes after the last one was sent: `grace_ns` after the last send or reply, whichever
/// is later, but at most `limit_ns` after the last send.
[[nodiscard]] std::int64_t grace_deadline_ns(const EchoSession& session, std::int64_t grace_ns, std::int64_t limit_ns);

}  // namespace stallscope::probe
