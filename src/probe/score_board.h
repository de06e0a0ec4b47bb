// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/latency_histogram.h"
#include "evidence/records.h"

namespace stallscope::probe {

/// How one probe did.
enum class ProbeFateKind : std::uint8_t {
  on_time,
  /// Came back later than the fastest of its target by the threshold or more.
  late,
  /// Did not, but was sent late by so much.
  own_late,
  lost,
  /// Answered at the second try of the far host, because its first answer was lost.
  answer_lost,
};

/// The phases of HTTP probes, one after the other. What got no response counts in those that it came through.
struct HttpScore {
  base::LatencyHistogram connect;
  /// From the connection to the first byte of the response: the request's way, the application, and the way back.
  base::LatencyHistogram first_byte;
  /// From there to the end of the response.
  base::LatencyHistogram rest;
  /// Of those that got no response (a closed port refuses them), by how far they came.
  std::int64_t not_connected = 0;
  std::int64_t no_response = 0;
  std::int64_t cut_short = 0;
  /// Responses by status, each of 0 to 999.
  std::map<std::int32_t, std::int64_t> statuses;

  explicit HttpScore(unsigned precision_bits) : connect(precision_bits), first_byte(precision_bits), rest(precision_bits) {}
};

/// What the probes to one target came to.
struct TargetScore {
  std::int64_t sent = 0;
  std::int64_t answered = 0;
  /// Without an answer, or with one whose first was lost (answers_lost).
  std::int64_t lost = 0;
  std::int64_t answers_lost = 0;
  std::int64_t late = 0;
  std::int64_t own_late = 0;
  /// Answered after a later probe was. As the order in which records are added says.
  std::int64_t out_of_order = 0;
  /// By AnswerKind.
  std::array<std::int64_t, evidence::all_answer_kinds.size()> answers{};
  std::int64_t fastest_ns = -1;
  std::int64_t newest_answered = -1;
  /// From the intended time to the answer.
  base::LatencyHistogram score;
  /// From the kernel's transmit timestamp to its receive timestamp: the path and the far host.
  base::LatencyHistogram path;
  /// Of it, the far host, by its own clock.
  base::LatencyHistogram far_host;
  /// Of HTTP only.
  std::optional<HttpScore> http;

  explicit TargetScore(unsigned precision_bits) : score(precision_bits), path(precision_bits), far_host(precision_bits) {}
};

/// Adds up finished probes, target by target. Pure; allocates in the constructor (about 110 KiB for each of up to 64 targets,
/// 30 KiB for each of more), and as much again for a target's first HTTP exchange.
class ScoreBoard {
 public:
  ScoreBoard(std::size_t target_count, std::int64_t late_after_ns);

  ProbeFateKind add(std::size_t target, const evidence::ProbeRecord& probe);
  /// How a probe by HTTP went, added to what add() counts of it.
  void add_phases(std::size_t target, const evidence::ProbeRecord& probe, const evidence::HttpRecord& http);

  [[nodiscard]] const std::vector<TargetScore>& targets() const { return targets_; }
  /// All targets.
  [[nodiscard]] const TargetScore& total() const { return total_; }
  /// How late the prober itself was: sent minus intended.
  [[nodiscard]] const base::LatencyHistogram& own_lateness() const { return own_lateness_; }
  /// From sent to the kernel's transmit timestamp: this host's stack, queueing discipline and driver.
  [[nodiscard]] const base::LatencyHistogram& own_stack() const { return own_stack_; }
  /// Where the card stamps packets: from the kernel's transmit timestamp to the card's, and from the card's receive timestamp to
  /// the kernel's: what waited in this host's receive queue.
  [[nodiscard]] const base::LatencyHistogram& own_card() const { return own_card_; }
  [[nodiscard]] const base::LatencyHistogram& own_queue() const { return own_queue_; }
  /// Late ones that would have been in time, had they not lain there.
  [[nodiscard]] std::int64_t late_by_own_queue() const { return late_by_own_queue_; }

 private:
  ProbeFateKind fate_of(const TargetScore& score, const evidence::ProbeRecord& probe) const;
  void add_hardware_times(const TargetScore& score, const evidence::ProbeRecord& probe, bool late);

  std::int64_t late_after_ns_;
  unsigned target_bits_;
  std::vector<TargetScore> targets_;
  TargetScore total_;
  base::LatencyHistogram own_lateness_;
  base::LatencyHistogram own_stack_;
  base::LatencyHistogram own_card_;
  base::LatencyHistogram own_queue_;
  std::int64_t late_by_own_queue_ = 0;
};

}  // namespace stallscope::probe
