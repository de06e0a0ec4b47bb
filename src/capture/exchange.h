// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "evidence/records.h"

namespace stallscope::capture {

/// What is asked and answered: a connection is opened, or an echo requested.
enum class ExchangeKind : std::uint8_t { none, handshake, echo };

/// Who asks whom. IPv4 addresses are in the first four bytes, the rest is zero.
struct ExchangeKey {
  std::array<std::uint8_t, 16> near{};
  std::array<std::uint8_t, 16> far{};
  /// Of an echo: identifier and sequence number.
  std::uint16_t near_port = 0;
  std::uint16_t far_port = 0;
  ExchangeKind kind = ExchangeKind::none;
  bool v6 = false;
  std::uint16_t unused = 0;

  friend bool operator==(const ExchangeKey&, const ExchangeKey&) = default;
};
static_assert(sizeof(ExchangeKey) == 40, "an entry of the table is one cache line");

/// A request and what became of it.
struct Observation {
  static constexpr std::int64_t not_answered = -1;

  ExchangeKey key;
  /// Of the request that was answered; of the first where none was. Since 1970, by the clock of who captured.
  std::int64_t sent_ns = 0;
  std::int64_t answered_ns = not_answered;
  /// Initial sequence number of a SYN; 0 of an echo.
  std::uint32_t sequence = 0;
  evidence::AnswerKind answer = evidence::AnswerKind::none;
  /// How often the request was sent again before.
  std::uint8_t resent_count = 0;
  /// By how much the request's time lies before that of packets which stand before it in the capture, in ms / 64 and at most a
  /// second. Linux stamps a packet before it puts it into a CPU's backlog (net.core.netdev_tstamp_prequeue) and hands it to a
  /// capture when it takes it out: a packet that waited there stands too late for its time.
  std::uint16_t queued_ticks = 0;

  [[nodiscard]] bool answered() const { return answered_ns != not_answered; }
  static constexpr std::int64_t ns_per_queued_tick = 15'625;
  [[nodiscard]] std::int64_t queued_ns() const { return queued_ticks * ns_per_queued_tick; }
  [[nodiscard]] std::int64_t rtt_ns() const { return answered_ns - sent_ns; }
};

}  // namespace stallscope::capture
