// SPDX-License-Identifier: Apache-2.0
#include "probe/score_board.h"

#include <algorithm>

namespace stallscope::probe {
namespace {

constexpr std::size_t precise_target_count = 64;
constexpr unsigned coarse_precision_bits = 5;

}  // namespace

ScoreBoard::ScoreBoard(std::size_t target_count, std::int64_t late_after_ns)
    : late_after_ns_(late_after_ns),
      target_bits_(target_count <= precise_target_count ? base::LatencyHistogram::default_precision_bits : coarse_precision_bits),
      targets_(target_count, TargetScore(target_bits_)),
      total_(base::LatencyHistogram::default_precision_bits) {}

ProbeFateKind ScoreBoard::fate_of(const TargetScore& score, const evidence::ProbeRecord& probe) const {
  if (!probe.answered()) {
    return probe.answer == evidence::AnswerKind::resent_syn_ack ? ProbeFateKind::answer_lost : ProbeFateKind::lost;
  }
  if (score.fastest_ns >= 0 && probe.rtt_ns() - score.fastest_ns >= late_after_ns_) {
    return ProbeFateKind::late;
  }
  return probe.own_lateness_ns() >= late_after_ns_ ? ProbeFateKind::own_late : ProbeFateKind::on_time;
}

ProbeFateKind ScoreBoard::add(std::size_t target, const evidence::ProbeRecord& probe) {
  const ProbeFateKind fate = fate_of(targets_[target], probe);
  own_lateness_.add(probe.own_lateness_ns());
  if (probe.transmitted_ns != evidence::ProbeRecord::unknown) {
    own_stack_.add(probe.transmitted_ns - probe.sent_ns);
  }
  add_hardware_times(targets_[target], probe, fate == ProbeFateKind::late);
  const bool overtaken = probe.answered() && probe.sequence < targets_[target].newest_answered;
  for (TargetScore* score : {&targets_[target], &total_}) {
    ++score->sent;
    ++score->answers.at(static_cast<std::size_t>(probe.answer));
    if (!probe.answered()) {
      ++score->lost;
      score->answers_lost += fate == ProbeFateKind::answer_lost ? 1 : 0;
      continue;
    }
    ++score->answered;
    score->late += fate == ProbeFateKind::late ? 1 : 0;
    score->own_late += fate == ProbeFateKind::own_late ? 1 : 0;
    score->out_of_order += overtaken ? 1 : 0;
    score->fastest_ns = score->fastest_ns < 0 ? probe.rtt_ns() : std::min(score->fastest_ns, probe.rtt_ns());
    score->newest_answered = std::max(score->newest_answered, probe.sequence);
    score->score.add(probe.score_ns());
    if (probe.transmitted_ns != evidence::ProbeRecord::unknown) {
      score->path.add(probe.received_ns - probe.transmitted_ns);
    }
    if (probe.far_host_ns != evidence::ProbeRecord::unknown) {
      score->far_host.add(probe.far_host_ns);
    }
  }
  return fate;
}

void ScoreBoard::add_hardware_times(const TargetScore& score, const evidence::ProbeRecord& probe, bool late) {
  constexpr std::int64_t unknown = evidence::ProbeRecord::unknown;
  if (probe.transmitted_ns != unknown && probe.hardware_transmitted_ns != unknown) {
    own_card_.add(probe.hardware_transmitted_ns - probe.transmitted_ns);
  }
  if (probe.own_queue_ns() != unknown) {
    own_queue_.add(probe.own_queue_ns());
    late_by_own_queue_ += late && probe.rtt_ns() - probe.own_queue_ns() - score.fastest_ns < late_after_ns_ ? 1 : 0;
  }
}

void ScoreBoard::add_phases(std::size_t target, const evidence::ProbeRecord& probe, const evidence::HttpRecord& http) {
  constexpr std::int64_t never = evidence::HttpRecord::not_reached;
  const auto add_to = [&](TargetScore& whole, unsigned precision_bits) {
    HttpScore& score = whole.http ? *whole.http : whole.http.emplace(precision_bits);
    if (http.connected_ns == never) {
      ++score.not_connected;
      return;
    }
    score.connect.add(http.connected_ns - probe.sent_ns);
    if (http.first_byte_ns == never) {
      ++score.no_response;
      return;
    }
    score.first_byte.add(http.first_byte_ns - http.connected_ns);
    if (http.finished_ns == never) {
      ++score.cut_short;
      return;
    }
    score.rest.add(http.finished_ns - http.first_byte_ns);
    ++score.statuses[http.status];
  };
  add_to(targets_[target], target_bits_);
  add_to(total_, base::LatencyHistogram::default_precision_bits);
}

}  // namespace stallscope::probe
