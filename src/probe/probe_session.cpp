// SPDX-License-Identifier: Apache-2.0
#include "probe/probe_session.h"

#include <algorithm>
#include <limits>

#include "base/units.h"

namespace stallscope::probe {

std::int64_t ProbeSchedule::offset_ns(std::int64_t sequence) const {
  const std::int64_t round = sequence / target_count;
  const std::int64_t turn = sequence % target_count;
  const std::int64_t turn_ns = turn * interval_ns / target_count;
  return (round * interval_ns) + turn_ns - (turn_ns % grid_ns);
}

std::int64_t ProbeSchedule::due_count(std::int64_t elapsed_ns) const {
  if (elapsed_ns < 0) {
    return 0;
  }
  const std::int64_t round = elapsed_ns / interval_ns;
  // The greatest turn with turn * interval / targets within the steps of the grid that have begun, where the division rounds down.
  const std::int64_t rest_ns = elapsed_ns % interval_ns;
  const std::int64_t begun_ns = rest_ns - (rest_ns % grid_ns) + grid_ns;
  const std::int64_t turn = std::min(target_count - 1, ((begun_ns * target_count) - 1) / interval_ns);
  if (round > count / target_count) {
    return count;
  }
  return std::min(count, (round * target_count) + turn + 1);
}

std::int64_t ProbeSchedule::probes_per_second() const {
  return ((target_count * base::ns_per_s) + interval_ns - 1) / interval_ns;
}

ProbeSession::ProbeSession(const ProbeSchedule& schedule, const SessionLimits& limits)
    : schedule_(schedule),
      limits_(limits),
      slots_(static_cast<std::size_t>(std::clamp<std::int64_t>(schedule.count, 1, limits.window))) {
  finished_.reserve(limits.finished_capacity);
}

std::optional<std::int64_t> ProbeSession::next_send_ns() const {
  if (next_sequence_ >= schedule_.count) {
    return std::nullopt;
  }
  return start_ns_ + schedule_.offset_ns(next_sequence_);
}

std::optional<DueProbe> ProbeSession::next_due(std::int64_t now_ns) {
  if (now_ns < next_send_ns().value_or(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  const std::int64_t due_count = schedule_.due_count(now_ns - start_ns_);
  const std::int64_t overdue = due_count - next_sequence_;
  if (overdue > limits_.catch_up) {
    // The oldest are dropped: the newest tell most about the present.
    counts_.skipped += overdue - limits_.catch_up;
    next_sequence_ = due_count - limits_.catch_up;
  }
  const DueProbe probe{next_sequence_, *next_send_ns()};
  ++next_sequence_;
  Slot& slot = slot_at(probe.sequence);
  if (slot.state == SlotState::outstanding) {
    lose(slot, SlotState::unused);
  }
  slot.state = SlotState::unused;
  return probe;
}

void ProbeSession::sent(const DueProbe& probe, std::int64_t sent_ns, std::int32_t sender_cpu, std::int64_t flow_id) {
  Slot& slot = slot_at(probe.sequence);
  slot.probe = {.sequence = probe.sequence,
                .intended_ns = probe.intended_ns,
                .sent_ns = sent_ns,
                .received_ns = evidence::ProbeRecord::not_received,
                .sender_cpu = sender_cpu,
                .flow_id = flow_id};
  slot.state = SlotState::outstanding;
  ++outstanding_count_;
  ++counts_.sent;
  last_sent_ns_ = sent_ns;
  counts_.worst_own_lateness_ns = std::max(counts_.worst_own_lateness_ns, slot.probe.own_lateness_ns());
}

void ProbeSession::transmitted(std::int64_t sequence, std::int64_t transmitted_ns, std::int64_t now_ns) {
  if (is_outstanding(sequence)) {
    evidence::ProbeRecord& probe = slot_at(sequence).probe;
    if (transmitted_ns >= probe.sent_ns && transmitted_ns <= now_ns) {
      probe.transmitted_ns = transmitted_ns;
    }
  }
}

void ProbeSession::hardware_transmitted(std::int64_t sequence, std::int64_t transmitted_ns, std::int64_t now_ns) {
  if (is_outstanding(sequence)) {
    evidence::ProbeRecord& probe = slot_at(sequence).probe;
    probe.hardware_transmitted_ns = hardware_time_between(std::max(probe.sent_ns, probe.transmitted_ns), transmitted_ns, now_ns);
  }
}

std::int64_t ProbeSession::hardware_time_between(std::int64_t from_ns, std::int64_t time_ns, std::int64_t to_ns) {
  if (time_ns == evidence::ProbeRecord::unknown || time_ns < from_ns - hardware_error_ns || time_ns > to_ns + hardware_error_ns) {
    return evidence::ProbeRecord::unknown;
  }
  return std::max(from_ns, std::min(time_ns, to_ns));
}

void ProbeSession::stop_sending() {
  schedule_.count = std::min(schedule_.count, next_sequence_);
}

const ProbeSession::Slot* ProbeSession::slot_of(std::int64_t sequence) const {
  if (sequence < 0 || sequence >= next_sequence_) {
    return nullptr;
  }
  const Slot& slot = slots_[static_cast<std::size_t>(sequence) % slots_.size()];
  return slot.state != SlotState::unused && slot.probe.sequence == sequence ? &slot : nullptr;
}

ProbeSession::Slot& ProbeSession::slot_at(std::int64_t sequence) {
  return slots_[static_cast<std::size_t>(sequence) % slots_.size()];
}

const evidence::ProbeRecord* ProbeSession::find(std::int64_t sequence) const {
  const Slot* slot = slot_of(sequence);
  return slot != nullptr ? &slot->probe : nullptr;
}

bool ProbeSession::is_outstanding(std::int64_t sequence) const {
  const Slot* slot = slot_of(sequence);
  return slot != nullptr && slot->state == SlotState::outstanding;
}

ReplyVerdict ProbeSession::received(std::int64_t sequence, std::int64_t received_ns, const AnswerDetails& details) {
  const Slot* found = slot_of(sequence);
  if (found == nullptr) {
    ++counts_.foreign;
    return ReplyVerdict::foreign;
  }
  if (found->state == SlotState::answered) {
    ++counts_.duplicates;
    return ReplyVerdict::duplicate;
  }
  Slot& slot = slot_at(sequence);
  if (slot.state == SlotState::expired) {
    // What comes after this is a duplicate of it.
    slot.state = SlotState::answered;
    ++counts_.after_timeout;
    return ReplyVerdict::after_timeout;
  }
  slot.probe.received_ns = received_ns;
  slot.probe.answer = details.kind;
  slot.probe.far_host_ns = details.far_host_ns;
  slot.probe.hardware_received_ns = hardware_time_between(slot.probe.sent_ns, details.hardware_received_ns, received_ns);
  slot.state = SlotState::answered;
  --outstanding_count_;
  ++counts_.answered;
  last_received_ns_ = std::max(last_received_ns_.value_or(received_ns), received_ns);
  finished_.push_back(slot.probe);
  return ReplyVerdict::answered;
}

void ProbeSession::expire(std::int64_t now_ns, std::int64_t timeout_ns) {
  oldest_sequence_ = std::max(oldest_sequence_, next_sequence_ - static_cast<std::int64_t>(slots_.size()));
  while (oldest_sequence_ < next_sequence_ && finished_.size() < limits_.finished_capacity) {
    Slot& slot = slot_at(oldest_sequence_);
    if (slot.state == SlotState::outstanding && slot.probe.sequence == oldest_sequence_) {
      if (now_ns - slot.probe.sent_ns < timeout_ns) {
        return;
      }
      lose(slot, SlotState::expired);
    }
    ++oldest_sequence_;
  }
}

void ProbeSession::lose(Slot& slot, SlotState becomes) {
  slot.state = becomes;
  --outstanding_count_;
  ++counts_.lost;
  finished_.push_back(slot.probe);
}

void ProbeSession::finish() {
  stop_sending();
  const auto slot_count = static_cast<std::int64_t>(slots_.size());
  for (std::int64_t sequence = std::max<std::int64_t>(0, next_sequence_ - slot_count); sequence < next_sequence_; ++sequence) {
    Slot& slot = slot_at(sequence);
    if (slot.state == SlotState::outstanding) {
      lose(slot, SlotState::unused);
    }
  }
}

std::int64_t grace_deadline_ns(const ProbeSession& session, std::int64_t grace_ns, std::int64_t limit_ns) {
  const std::int64_t last_event_ns = std::max(session.last_sent_ns(), session.last_received_ns().value_or(0));
  return std::min(last_event_ns + grace_ns, session.last_sent_ns() + limit_ns);
}

}  // namespace stallscope::probe
