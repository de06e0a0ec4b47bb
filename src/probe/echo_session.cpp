// SPDX-License-Identifier: Apache-2.0
#include "probe/echo_session.h"

#include <algorithm>
#include <limits>

namespace stallscope::probe {

EchoSession::EchoSession(const EchoSchedule& schedule, std::uint16_t identifier, std::uint64_t token)
    : schedule_(schedule),
      identifier_(identifier),
      token_(token),
      slots_(static_cast<std::size_t>(std::clamp<std::int64_t>(schedule.count, 1, window))) {
  finished_.reserve(finished_capacity);
}

std::optional<std::int64_t> EchoSession::next_send_ns() const {
  if (next_sequence_ >= schedule_.count) {
    return std::nullopt;
  }
  return start_ns_ + (next_sequence_ * schedule_.interval_ns);
}

std::optional<DueProbe> EchoSession::next_due(std::int64_t now_ns) {
  if (now_ns < next_send_ns().value_or(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  const std::int64_t due_count = std::min(schedule_.count, ((now_ns - start_ns_) / schedule_.interval_ns) + 1);
  const std::int64_t overdue = due_count - next_sequence_;
  if (overdue > catch_up_limit) {
    // The oldest are dropped: the newest tell most about the present.
    counts_.skipped += overdue - catch_up_limit;
    next_sequence_ = due_count - catch_up_limit;
  }
  const DueProbe probe{next_sequence_, *next_send_ns()};
  ++next_sequence_;
  Slot& slot = slots_[slot_index(probe.sequence)];
  if (slot.state == SlotState::outstanding) {
    lose(slot);
  }
  slot.state = SlotState::unused;
  return probe;
}

EchoLabel EchoSession::label(const DueProbe& probe) const {
  return {.identifier = identifier_, .token = token_, .sequence = probe.sequence};
}

void EchoSession::sent(const DueProbe& probe, std::int64_t sent_ns, std::int32_t sender_cpu) {
  Slot& slot = slots_[slot_index(probe.sequence)];
  slot.probe = {.sequence = probe.sequence,
                .intended_ns = probe.intended_ns,
                .sent_ns = sent_ns,
                .received_ns = evidence::ProbeRecord::not_received,
                .sender_cpu = sender_cpu};
  slot.state = SlotState::outstanding;
  ++outstanding_count_;
  ++counts_.sent;
  last_sent_ns_ = sent_ns;
  counts_.worst_own_lateness_ns = std::max(counts_.worst_own_lateness_ns, slot.probe.own_lateness_ns());
}

void EchoSession::send_failed() {
  ++counts_.send_failed;
}

void EchoSession::stop_sending() {
  schedule_.count = std::min(schedule_.count, next_sequence_);
}

std::optional<std::int64_t> EchoSession::unwrap(std::uint16_t wire_sequence) const {
  const std::int64_t newest = next_sequence_ - 1;
  const auto age = static_cast<std::uint16_t>(static_cast<std::uint64_t>(newest) - wire_sequence);
  const std::int64_t sequence = newest - age;
  return sequence >= 0 ? std::optional(sequence) : std::nullopt;
}

const EchoSession::Slot* EchoSession::slot_of(const EchoReply& reply) const {
  if (reply.label.identifier != identifier_ || reply.label.token != token_) {
    return nullptr;
  }
  const std::optional<std::int64_t> sequence = unwrap(reply.wire_sequence);
  if (!sequence || *sequence != reply.label.sequence) {
    return nullptr;
  }
  const Slot& slot = slots_[slot_index(*sequence)];
  return slot.state != SlotState::unused && slot.probe.sequence == *sequence ? &slot : nullptr;
}

const evidence::ProbeRecord* EchoSession::outstanding(const EchoReply& reply) const {
  const Slot* slot = slot_of(reply);
  return slot != nullptr && slot->state == SlotState::outstanding ? &slot->probe : nullptr;
}

ReplyVerdict EchoSession::received(const EchoReply& reply, std::int64_t received_ns) {
  const Slot* found = slot_of(reply);
  if (found == nullptr) {
    ++counts_.foreign;
    return ReplyVerdict::foreign;
  }
  if (found->state == SlotState::answered) {
    ++counts_.duplicates;
    return ReplyVerdict::duplicate;
  }
  Slot& slot = slots_[slot_index(found->probe.sequence)];
  slot.probe.received_ns = received_ns;
  slot.state = SlotState::answered;
  --outstanding_count_;
  ++counts_.answered;
  last_received_ns_ = std::max(last_received_ns_.value_or(received_ns), received_ns);
  finished_.push_back(slot.probe);
  return ReplyVerdict::answered;
}

bool EchoSession::is_ours(const QuotedRequest& quoted) const {
  return quoted.identifier == identifier_ && quoted.token.value_or(token_) == token_ && unwrap(quoted.wire_sequence).has_value();
}

std::size_t EchoSession::slot_index(std::int64_t sequence) const {
  return static_cast<std::size_t>(sequence) % slots_.size();
}

void EchoSession::lose(Slot& slot) {
  slot.state = SlotState::unused;
  --outstanding_count_;
  ++counts_.lost;
  finished_.push_back(slot.probe);
}

void EchoSession::finish() {
  stop_sending();
  const auto slot_count = static_cast<std::int64_t>(slots_.size());
  for (std::int64_t sequence = std::max<std::int64_t>(0, next_sequence_ - slot_count); sequence < next_sequence_; ++sequence) {
    Slot& slot = slots_[slot_index(sequence)];
    if (slot.state == SlotState::outstanding) {
      lose(slot);
    }
  }
}

std::int64_t grace_deadline_ns(const EchoSession& session, std::int64_t grace_ns, std::int64_t limit_ns) {
  const std::int64_t last_event_ns = std::max(session.last_sent_ns(), session.last_received_ns().value_or(0));
  return std::min(last_event_ns + grace_ns, session.last_sent_ns() + limit_ns);
}

}  // namespace stallscope::probe
