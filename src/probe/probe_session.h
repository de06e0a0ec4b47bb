// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/units.h"
#include "evidence/records.h"

namespace stallscope::probe {

/// `count` probes in all. Each of `target_count` targets gets one every `interval_ns`, in turn and evenly spread over the interval:
/// probe n goes to target n % target_count.
struct ProbeSchedule {
  std::int64_t interval_ns = 0;
  std::int64_t count = 0;
  std::int64_t target_count = 1;
  /// Targets whose turns come within one step of this are due together, at its beginning.
  std::int64_t grid_ns = 1;

  /// When probe `sequence` is due, after the start.
  [[nodiscard]] std::int64_t offset_ns(std::int64_t sequence) const;
  /// How many probes are due `elapsed_ns` after the start, `count` at most.
  [[nodiscard]] std::int64_t due_count(std::int64_t elapsed_ns) const;
  /// Of all targets, rounded up.
  [[nodiscard]] std::int64_t probes_per_second() const;
};

/// A probe whose time has come.
struct DueProbe {
  std::int64_t sequence = 0;
  std::int64_t intended_ns = 0;
};

/// What became of an answer.
enum class ReplyVerdict : std::uint8_t {
  /// The first answer to an outstanding probe.
  answered,
  /// Answered before.
  duplicate,
  /// To a probe that was declared lost before.
  after_timeout,
  /// Another program's, of another session, or of a probe too old to be told apart.
  foreign,
};

/// What a session counted.
struct SessionCounts {
  std::int64_t sent = 0;
  std::int64_t answered = 0;
  std::int64_t lost = 0;
  std::int64_t duplicates = 0;
  /// Answers to probes that had been declared lost; they stay lost.
  std::int64_t after_timeout = 0;
  std::int64_t foreign = 0;
  /// Sends the system refused; such a probe has no record, because it was never on the network.
  std::int64_t send_failed = 0;
  /// Probes dropped from the schedule because the sender stood still for too long (see SessionLimits), or because every source
  /// port of theirs was still in use; no record either.
  std::int64_t skipped = 0;
  std::int64_t worst_own_lateness_ns = 0;
};

struct SessionLimits {
  /// How many probes can be outstanding; each takes sizeof(Slot), 96 bytes. An older one is lost when its slot is needed.
  std::int64_t window = 65536;
  /// Probes that are overdue by more than this many are not sent: a sender that was suspended for an hour would flood the network.
  std::int64_t catch_up = 32768;
  std::size_t finished_capacity = 4096;
};

/// What an answer said beyond having come.
struct AnswerDetails {
  evidence::AnswerKind kind = evidence::AnswerKind::none;
  std::int64_t far_host_ns = evidence::ProbeRecord::unknown;
  /// When the network card had it.
  std::int64_t hardware_received_ns = evidence::ProbeRecord::unknown;
};

/// The bookkeeping of one run of probes, whatever their kind: schedule, outstanding probes and their scores. Pure: it is told every
/// time and does no I/O. Not thread-safe. Memory is allocated by the constructor and by finish() alone, as long as the caller takes
/// the finished records at least every `finished_capacity` calls.
///
/// A probe is late or lost, never both.
class ProbeSession {
 public:
  /// How far a card's timestamp may seem to lie outside of what is possible; beyond that it is another clock's.
  static constexpr std::int64_t hardware_error_ns = 100 * base::ns_per_us;

  ProbeSession(const ProbeSchedule& schedule, const SessionLimits& limits);

  /// The first probe is due at `start_ns`. To be called once, before anything else: apart from the constructor because that takes
  /// a while, in which the first probes would grow late.
  void begin(std::int64_t start_ns) { start_ns_ = start_ns; }

  /// The next probe if it is due at `now_ns`. Overdue probes come one by one, in order, each with its own intended time.
  [[nodiscard]] std::optional<DueProbe> next_due(std::int64_t now_ns);
  /// When the next probe is due; nothing after the last one.
  [[nodiscard]] std::optional<std::int64_t> next_send_ns() const;
  [[nodiscard]] std::int64_t newest_sequence() const { return next_sequence_ - 1; }
  /// `probe` left at `sent_ns`, the time just before the system was asked to send it.
  void sent(const DueProbe& probe, std::int64_t sent_ns, std::int32_t sender_cpu, std::int64_t flow_id);
  /// The system refused to send a probe, and it is not sent again.
  void send_failed() { ++counts_.send_failed; }
  /// A due probe is left out.
  void skip() { ++counts_.skipped; }
  /// The kernel's transmit timestamp of a probe. Ignored unless it lies between its sending and `now_ns`.
  void transmitted(std::int64_t sequence, std::int64_t transmitted_ns, std::int64_t now_ns);
  /// The card's, by its clock, which is known to hardware_error_ns. Ignored where that makes it impossible, or when the answer was
  /// here before it.
  void hardware_transmitted(std::int64_t sequence, std::int64_t transmitted_ns, std::int64_t now_ns);
  /// No further probe is sent; those outstanding are still awaited.
  void stop_sending();

  /// The probe of that sequence while it is remembered, whatever became of it; nothing for one that was never sent.
  [[nodiscard]] const evidence::ProbeRecord* find(std::int64_t sequence) const;
  [[nodiscard]] bool is_outstanding(std::int64_t sequence) const;
  ReplyVerdict received(std::int64_t sequence, std::int64_t received_ns, const AnswerDetails& details);
  void foreign() { ++counts_.foreign; }
  /// Declares lost what was sent `timeout_ns` ago or earlier and is not answered, finished_capacity at most.
  void expire(std::int64_t now_ns, std::int64_t timeout_ns);

  [[nodiscard]] std::int64_t outstanding_count() const { return outstanding_count_; }
  [[nodiscard]] std::int64_t last_sent_ns() const { return last_sent_ns_; }
  [[nodiscard]] std::optional<std::int64_t> last_received_ns() const { return last_received_ns_; }

  /// Probes whose fate is known, in the order in which it became known.
  [[nodiscard]] std::span<const evidence::ProbeRecord> finished() const { return finished_; }
  void clear_finished() { finished_.clear(); }
  /// Declares every outstanding probe lost, in order of sequence.
  void finish();

  [[nodiscard]] const SessionCounts& counts() const { return counts_; }
  [[nodiscard]] std::int64_t window_bytes() const { return static_cast<std::int64_t>(slots_.size() * sizeof(Slot)); }

 private:
  enum class SlotState : std::uint8_t { unused, outstanding, answered, expired };
  struct Slot {
    evidence::ProbeRecord probe;
    SlotState state = SlotState::unused;
  };

  /// Of a card's timestamp that can only lie between the two; unknown where it does not.
  [[nodiscard]] static std::int64_t hardware_time_between(std::int64_t from_ns, std::int64_t time_ns, std::int64_t to_ns);
  [[nodiscard]] const Slot* slot_of(std::int64_t sequence) const;
  [[nodiscard]] Slot& slot_at(std::int64_t sequence);
  void lose(Slot& slot, SlotState becomes);

  ProbeSchedule schedule_;
  SessionLimits limits_;
  std::int64_t start_ns_ = 0;
  std::int64_t next_sequence_ = 0;
  /// No probe before this one is outstanding.
  std::int64_t oldest_sequence_ = 0;
  std::vector<Slot> slots_;
  std::int64_t outstanding_count_ = 0;
  std::int64_t last_sent_ns_ = 0;
  std::optional<std::int64_t> last_received_ns_;
  std::vector<evidence::ProbeRecord> finished_;
  SessionCounts counts_;
};

/// When to stop waiting for outstanding probes after the last one was sent: `grace_ns` after the last send or reply, whichever
/// is later, but at most `limit_ns` after the last send.
[[nodiscard]] std::int64_t grace_deadline_ns(const ProbeSession& session, std::int64_t grace_ns, std::int64_t limit_ns);

}  // namespace stallscope::probe
