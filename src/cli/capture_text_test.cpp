// SPDX-License-Identifier: Apache-2.0
#include "cli/capture_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/units.h"

namespace stallscope::cli {
namespace {

using base::ns_per_ms;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t capture_start_ns = 1'700'000'000'000'000'000;
constexpr std::int64_t held_from_ms = 1'000;
constexpr std::int64_t held_to_ms = 1'060;

capture::Observation handshake(std::int64_t ms, std::uint16_t flow, std::int64_t rtt_ns) {
  capture::Observation observation;
  observation.key.kind = capture::ExchangeKind::handshake;
  observation.key.near = {10, 0, 1, 1};
  observation.key.far = {10, 0, 1, 2};
  observation.key.near_port = static_cast<std::uint16_t>(40'000 + flow);
  observation.key.far_port = 443;
  observation.sent_ns = capture_start_ns + (ms * ns_per_ms);
  observation.answered_ns = observation.sent_ns + rtt_ns;
  observation.answer = evidence::AnswerKind::syn_ack;
  observation.request_packet = static_cast<std::uint32_t>(2 * ms + 1);
  observation.answer_packet = static_cast<std::uint32_t>(2 * ms + 2);
  return observation;
}

/// A handshake each millisecond, by 8 flows in turn; half of the flows stall once.
ReadCapture stalled_capture() {
  ReadCapture read;
  read.name = "slow.pcap";
  for (std::int64_t ms = 0; ms < 3'000; ++ms) {
    const auto flow = static_cast<std::uint16_t>(ms % 8);
    const bool held = flow < 4 && ms >= held_from_ms && ms < held_to_ms;
    read.findings.exchanges.push_back(handshake(ms, flow, held ? (held_to_ms - ms) * ns_per_ms + 200'000 : 200'000));
  }
  read.findings.counts.packet_count = 6'000;
  read.findings.counts.first_ns = capture_start_ns;
  read.findings.counts.last_ns = capture_start_ns + (3'000 * ns_per_ms);
  return read;
}

TEST(CaptureConclusion, KnowsTheStallOfEachHeldExchange) {
  const std::vector<ReadCapture> reads = [] {
    std::vector<ReadCapture> one;
    one.push_back(stalled_capture());
    return one;
  }();
  const CaptureOutcome outcome = conclude(reads);
  const std::vector<HeldExchange> held = held_exchanges(reads.front(), outcome);
  // The last 5 ms of the stall make nothing late.
  EXPECT_EQ(held.size(), 28U);
  for (const HeldExchange& one : held) {
    ASSERT_NE(one.stall(), nullptr);
    EXPECT_EQ(one.usual_ns, 200'000);
    EXPECT_EQ(one.stall()->cause, shape::Cause::receive_queue);
    EXPECT_EQ(one.stall()->release_ns + outcome.shapes.realtime_offset_ns, capture_start_ns + (held_to_ms * ns_per_ms) + 200'000);
  }
}

TEST(CaptureText, SaysHowFarTheClocksDrift) {
  std::vector<ReadCapture> reads(2);
  CaptureOutcome outcome;
  outcome.places.emplace();
  base::ClockFit& clock = outcome.places->clock;
  clock.drift = -12.3e-6;
  clock.drift_uncertainty = 0.5e-6;
  clock.uncertainty_ns = 101'000;
  EXPECT_THAT(places_sentence(reads, outcome),
              HasSubstr("The second clock runs 12.30 +- 0.5 ppm slower than the first, and is known to 101 us.\n"));
  clock.drift_uncertainty = 20e-6;
  EXPECT_THAT(places_sentence(reads, outcome), HasSubstr("runs as fast as the first to 20 ppm,"));
}

TEST(CaptureText, SaysHowLongLateExchangesPassedThroughAHost) {
  std::vector<ReadCapture> reads;
  reads.push_back(stalled_capture());
  EXPECT_THAT(passages_sentence(conclude(reads).passages), IsEmpty());
  // Held in front of a translation; prompt ones are not counted.
  for (capture::Observation& exchange : reads.front().findings.exchanges) {
    exchange.leg_count = 2;
    exchange.request_passed_us = static_cast<std::uint32_t>((exchange.rtt_ns() - 150'000) / base::ns_per_us);
    exchange.answer_passed_us = 50;
  }
  const CaptureOutcome outcome = conclude(reads);
  EXPECT_EQ(outcome.passages.late_count, 28);
  EXPECT_EQ(outcome.passages.request_ns, outcome.passages.rtt_ns - (28 * 150'000));
  EXPECT_THAT(passages_sentence(outcome.passages), HasSubstr("28 late exchanges were seen again on their way through the host"));
  EXPECT_THAT(passages_sentence(outcome.passages), HasSubstr("1.4 ms with the answer.\n"));
  EXPECT_EQ(nlohmann::json::parse(capture_json(reads, outcome))["passages"]["answer_ns"], 28 * 50'000);
}

TEST(CaptureText, ReportsResponsesAndReleasesWhereThereAreAny) {
  capture::Findings findings;
  EXPECT_THAT(responses_text(findings, false), IsEmpty());
  EXPECT_THAT(releases_text(findings, false), IsEmpty());
  capture::ServiceResponses service;
  service.service.far = {10, 0, 1, 2};
  service.service.far_port = 443;
  service.count = 4'000;
  service.median_ns = 2 * ns_per_ms;
  service.worst_ns = 301 * ns_per_ms;
  service.application_late_count = 11;
  service.network_late_count = 1;
  service.worst = {handshake(10, 0, 301 * ns_per_ms)};
  findings.late_responses = {service};
  EXPECT_EQ(responses_text(findings, false),
            "10.0.1.2:443 sent 12 of 4,000 responses late: up to 301 ms after the request (packet 22), usually 2.0 ms.\n"
            "  11: its kernel had acknowledged the request at once. The application was late, not the packets\n"
            "  1: its kernel acknowledged the request late, too. The packets waited, not the application\n");
  capture::PacketRelease release;
  release.host = {10, 0, 1, 2};
  release.silent_from_ns = capture_start_ns;
  release.released_ns = capture_start_ns + (60 * ns_per_ms);
  release.drained_ns = release.released_ns + 61'000;
  release.packet_count = 60;
  release.packet = 1'002;
  findings.releases.assign(7, release);
  EXPECT_THAT(releases_text(findings, false), HasSubstr("7 times packets of several flows"));
  EXPECT_THAT(releases_text(findings, false), HasSubstr("to 10.0.1.2: 60 packets within 61 us after 60 ms (packet 1002)\n"));
  const std::string all = releases_text(findings, true);
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 8);
}

TEST(CaptureText, JsonHasWhatTheTextHas) {
  std::vector<ReadCapture> reads;
  reads.push_back(stalled_capture());
  reads.front().findings.counts.data_rtt_count = 5;
  reads.front().findings.releases.resize(2);
  const auto json = nlohmann::json::parse(capture_json(reads, conclude(reads)));
  EXPECT_EQ(json["captures"][0]["data"]["rtts"], 5);
  EXPECT_EQ(json["captures"][0]["releases"].size(), 2U);
  EXPECT_EQ(json["captures"][0]["late_responses"].size(), 0U);
  EXPECT_EQ(json["shapes"][0]["episodes"][0]["held"], 28);
}

}  // namespace
}  // namespace stallscope::cli
