// SPDX-License-Identifier: Apache-2.0
// The small pure parts of the prober: source ports, rate limit, score board, errors, HTTP reader, distortions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/units.h"
#include "host/fake_tree.h"
#include "probe/distortions.h"
#include "probe/error_counts.h"
#include "probe/http_reader.h"
#include "probe/rate_limiter.h"
#include "probe/resent_answer.h"
#include "probe/score_board.h"
#include "probe/source_ports.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(SourcePorts, RotatesAndNeverTakesOneThatIsOutstandingOrInUse) {
  const std::array<std::uint16_t, 1> in_use = {102};
  SourcePorts ports({100, 103}, 2, in_use, 0);
  std::set<std::uint16_t> taken;
  for (int i = 0; i < 3; ++i) {
    taken.insert(ports.take(0, 0).value());
  }
  EXPECT_EQ(taken, (std::set<std::uint16_t>{100, 101, 103}));
  EXPECT_FALSE(ports.take(0, 0));
  EXPECT_TRUE(ports.take(1, 0)) << "each target has its own";
  ports.answered(0, 101);
  EXPECT_EQ(ports.take(0, 0), 101);
}

TEST(SourcePorts, KeepsThePortOfALostSynUntilTheFarHostHasForgottenIt) {
  SourcePorts ports({100, 100}, 1, {}, 0);
  ASSERT_EQ(ports.take(0, 0), 100);
  ports.lost(0, 100, ns_per_s);
  EXPECT_FALSE(ports.take(0, ns_per_s + SourcePorts::quarantine_ns - 1));
  EXPECT_EQ(ports.take(0, ns_per_s + SourcePorts::quarantine_ns), 100);
  EXPECT_EQ(ports.freed_early_count(), 0);
}

TEST(ResentAnswers, ALateAnswerIsNotTakenForOneThatWasSentAgain) {
  constexpr std::uint32_t far_start_ms = 0xffffff00;  // wraps meanwhile
  const auto far_clock = [](std::int64_t at_ns) { return far_start_ms + static_cast<std::uint32_t>(at_ns / ns_per_ms); };
  constexpr std::int64_t second_ns = ns_per_s;
  ResentAnswers answers;
  EXPECT_FALSE(answers.is_resent(0, ns_per_ms, far_clock(ns_per_ms)));
  // Sent at once, and a second under way.
  EXPECT_FALSE(answers.is_resent(second_ns, (2 * second_ns) + (3 * ns_per_ms), far_clock(second_ns)));
  // Sent when the far host's timer expired.
  EXPECT_TRUE(answers.is_resent(second_ns, (2 * second_ns) + (5 * ns_per_ms), far_clock((2 * second_ns) + (4 * ns_per_ms))));
  EXPECT_TRUE(answers.is_resent(second_ns, (4 * second_ns) + (5 * ns_per_ms), far_clock((4 * second_ns) + (4 * ns_per_ms))));
  // The SYN waited for half a second longer than any timer.
  EXPECT_FALSE(answers.is_resent(second_ns, (2 * second_ns) + (500 * ns_per_ms), far_clock((2 * second_ns) + (500 * ns_per_ms))));
  // Without timestamps the time alone decides.
  ResentAnswers blind;
  EXPECT_TRUE(blind.is_resent(0, second_ns + (2 * ns_per_ms), std::nullopt));
  EXPECT_FALSE(blind.is_resent(0, second_ns / 2, std::nullopt));
}

TEST(RateLimiter, GivesEachSourceItsBudgetAndNoMore) {
  RateLimiter limiter(100);
  const auto allowed = [&](std::uint64_t key, std::int64_t now_ns) {
    int count = 0;
    for (int i = 0; i < 1000; ++i) {
      count += limiter.allow(key, now_ns) ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(allowed(1, ns_per_s), 100);
  EXPECT_EQ(allowed(2, ns_per_s), 100);
  EXPECT_EQ(allowed(1, ns_per_s + (ns_per_s / 10)), 10);
  EXPECT_EQ(allowed(1, 3600 * ns_per_s), 100) << "what was not used is not saved up";
  // In small steps, too, no fraction of a budget is lost or won.
  RateLimiter fast(20'000);
  int count = 0;
  constexpr std::int64_t step_ns = 30'000;
  for (std::int64_t now_ns = ns_per_s; now_ns < 11 * ns_per_s; now_ns += step_ns) {
    count += fast.allow(7, now_ns) ? 1 : 0;
  }
  EXPECT_NEAR(count, 20'000 + 200'000, 2);
}

evidence::ProbeRecord probe(std::int64_t sequence, std::int64_t intended, std::int64_t sent, std::int64_t received) {
  evidence::ProbeRecord made;
  made.sequence = sequence;
  made.intended_ns = intended;
  made.sent_ns = sent;
  made.received_ns = received;
  made.answer = received >= 0 ? evidence::AnswerKind::syn_ack : evidence::AnswerKind::none;
  return made;
}

TEST(ScoreBoard, TellsLateFromSentLateFromLost) {
  ScoreBoard board(2, 10 * ns_per_ms);
  EXPECT_EQ(board.add(0, probe(0, 0, 0, ns_per_ms)), ProbeFateKind::on_time);
  EXPECT_EQ(board.add(0, probe(2, 0, 0, 11 * ns_per_ms)), ProbeFateKind::late);
  EXPECT_EQ(board.add(0, probe(4, 0, 50 * ns_per_ms, 51 * ns_per_ms)), ProbeFateKind::own_late);
  EXPECT_EQ(board.add(0, probe(6, 0, 0, -1)), ProbeFateKind::lost);
  // Far away is not late.
  EXPECT_EQ(board.add(1, probe(1, 0, 0, 80 * ns_per_ms)), ProbeFateKind::on_time);
  EXPECT_EQ(board.total().sent, 5);
  EXPECT_EQ(board.total().late, 1);
  EXPECT_EQ(board.total().own_late, 1);
  EXPECT_EQ(board.total().lost, 1);
  EXPECT_EQ(board.own_lateness().maximum_ns(), 50 * ns_per_ms);
  EXPECT_EQ(board.targets()[0].score.maximum_ns(), 51 * ns_per_ms) << "scored from the intended time";
}

TEST(ScoreBoard, TellsWhatTheCardHadInTimeFromWhatCameLateToIt) {
  ScoreBoard board(1, 10 * ns_per_ms);
  board.add(0, probe(0, 0, 0, ns_per_ms));
  EXPECT_EQ(board.own_queue().count(), 0) << "no timestamp, no time";
  evidence::ProbeRecord in_queue = probe(1, 0, 0, 80 * ns_per_ms);
  in_queue.transmitted_ns = 0;
  in_queue.hardware_transmitted_ns = ns_per_ms / 2;
  in_queue.hardware_received_ns = 2 * ns_per_ms;
  EXPECT_EQ(board.add(0, in_queue), ProbeFateKind::late);
  evidence::ProbeRecord on_the_way = probe(2, 0, 0, 80 * ns_per_ms);
  on_the_way.hardware_received_ns = 79 * ns_per_ms;
  EXPECT_EQ(board.add(0, on_the_way), ProbeFateKind::late);
  EXPECT_EQ(board.own_queue().count(), 2);
  EXPECT_EQ(board.own_queue().maximum_ns(), 78 * ns_per_ms);
  EXPECT_EQ(board.own_card().maximum_ns(), ns_per_ms / 2);
  EXPECT_EQ(board.own_card().count(), 1);
  EXPECT_EQ(board.late_by_own_queue(), 1);
}

TEST(ScoreBoard, TellsInWhichPhaseHttpProbesWereSlowOrLost) {
  ScoreBoard board(2, ns_per_s);
  evidence::ProbeRecord probe;
  probe.sent_ns = ns_per_s;
  const auto after = [&](std::int64_t length_ns) { return probe.sent_ns + length_ns; };
  board.add_phases(1, probe, {0, after(2 * ns_per_ms), after(92 * ns_per_ms), after(95 * ns_per_ms), 200});
  board.add_phases(1, probe, {1, after(3 * ns_per_ms), evidence::HttpRecord::not_reached, evidence::HttpRecord::not_reached, 0});
  board.add_phases(1, probe, {2, after(ns_per_ms), after(4 * ns_per_ms), evidence::HttpRecord::not_reached, 0});
  board.add_phases(1, probe, {3});
  EXPECT_FALSE(board.targets()[0].http);
  for (const TargetScore* score : {&board.targets()[1], &board.total()}) {
    ASSERT_TRUE(score->http);
    EXPECT_EQ(score->http->connect.count(), 3);
    EXPECT_EQ(score->http->connect.maximum_ns(), 3 * ns_per_ms);
    EXPECT_EQ(score->http->first_byte.count(), 2);
    EXPECT_EQ(score->http->first_byte.maximum_ns(), 90 * ns_per_ms);
    EXPECT_EQ(score->http->rest.maximum_ns(), 3 * ns_per_ms);
    EXPECT_EQ(score->http->not_connected, 1);
    EXPECT_EQ(score->http->no_response, 1);
    EXPECT_EQ(score->http->cut_short, 1);
    EXPECT_EQ(score->http->statuses, (std::map<std::int32_t, std::int64_t>{{200, 1}}));
  }
}

TEST(ScoreBoard, CountsAnswersThatWereOvertakenByThoseOfTheSameTarget) {
  ScoreBoard board(2, ns_per_s);
  board.add(0, probe(2, 0, 0, 1));
  board.add(1, probe(1, 0, 0, 1));
  board.add(0, probe(0, 0, 0, 1));
  EXPECT_EQ(board.targets()[0].out_of_order, 1);
  EXPECT_EQ(board.targets()[1].out_of_order, 0);
  EXPECT_EQ(board.total().out_of_order, 1);
}

HttpReader::State read_in_pieces(HttpReader& reader, const std::string& text, std::size_t piece) {
  reader.reset();
  for (std::size_t i = 0; i < text.size(); i += piece) {
    const std::string part = text.substr(i, piece);
    reader.take(std::as_bytes(std::span(part)));
  }
  return reader.state();
}

TEST(ErrorCounts, TellKindsApartAndTheLastStandsForThoseThatAreTooMany) {
  ErrorCounts counts;
  for (int number = 1; number <= 20; ++number) {
    counts.add({.error_number = number});
    counts.add({.error_number = number});
  }
  counts.add({.icmp = true, .type = 3, .code = 1});
  const std::vector<ProbeErrorCount> all = counts.all();
  ASSERT_EQ(all.size(), 16U);
  EXPECT_EQ(all.front().count, 2);
  EXPECT_FALSE(all.front().icmp);
  EXPECT_EQ(all.back().count, 2 + (4 * 2) + 1);

  ErrorCounts reported;
  reported.add({.icmp = true, .type = 3, .code = 1, .reporter = {.family = AF_INET, .port = 1}});
  reported.add({.icmp = true, .type = 3, .code = 1, .reporter = {.family = AF_INET, .port = 2}});
  reported.add({.icmp = true, .type = 3, .code = 3});
  ASSERT_EQ(reported.all().size(), 2U);
  EXPECT_EQ(reported.all().front().reporter.port, 2) << "the last that reported it";
  EXPECT_THAT(reported.all().front().what, HasSubstr("unreachable"));
}

TEST(HttpReader, EndsWhereTheLengthSaysInWhateverPiecesItComes) {
  const std::string response = "HTTP/1.1 503 Busy\r\nServer: x\r\ncontent-LENGTH: 5 \r\n\r\nhello";
  HttpReader reader;
  for (std::size_t piece = 1; piece <= response.size(); ++piece) {
    EXPECT_EQ(read_in_pieces(reader, response, piece), HttpReader::State::complete) << piece;
    EXPECT_EQ(reader.status(), 503);
    EXPECT_EQ(read_in_pieces(reader, response.substr(0, response.size() - 1), piece), HttpReader::State::reading);
    EXPECT_EQ(reader.end(), HttpReader::State::malformed) << "cut short";
  }
}

TEST(HttpReader, WithoutALengthTheEndOfTheConnectionIsTheEnd) {
  HttpReader reader;
  EXPECT_EQ(read_in_pieces(reader, "HTTP/1.0 200 OK\r\n\r\nsome", 4), HttpReader::State::reading);
  EXPECT_EQ(reader.end(), HttpReader::State::complete);
  EXPECT_EQ(read_in_pieces(reader, "HTTP/1.1 204 No Content\r\n\r\n", 7), HttpReader::State::complete);
  EXPECT_EQ(read_in_pieces(reader, "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 9),
            HttpReader::State::complete);
  EXPECT_EQ(reader.status(), 200);
}

TEST(HttpReader, RefusesWhatIsNoResponse) {
  HttpReader reader;
  for (const char* const text : {"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n",
                                 "HTTP/1.1 2000 x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"}) {
    EXPECT_EQ(read_in_pieces(reader, text, 3), HttpReader::State::malformed) << text;
  }
  EXPECT_EQ(read_in_pieces(reader, std::string(HttpReader::longest_head_bytes, 'x'), 1000), HttpReader::State::malformed);
}

TEST(Distortions, AreShownWhereTheyMatterAndOnlyThere) {
  host::FakeTree tree;
  tree.add("/proc/sys/net/netfilter/nf_conntrack_count", "900\n").add("/proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
  tree.add("/proc/thread-self/net/netstat", "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 40\nIpExt: InNoRoutes\nIpExt: 0\n");
  tree.add("/proc/stat", "cpu  1 2 3 4 5 6 7 80 9 10\n");
  const DistortionFacts before = read_distortion_facts(tree.files());
  EXPECT_EQ(before.at("tcp.listen_overflows"), 40);
  EXPECT_EQ(before.at("cpu.steal_ticks"), 80);
  ProbeLoad load;
  load.uses_tcp = true;
  EXPECT_THAT(find_distortions(before, before, load), IsEmpty());
  load.tracked_flows = 100;
  ASSERT_EQ(find_distortions(before, before, load).size(), 1U);
  EXPECT_THAT(find_distortions(before, before, load)[0].consequence, HasSubstr("900 of 1,000"));
  DistortionFacts after = before;
  after["tcp.listen_overflows"] = 47;
  after["cpu.steal_ticks"] = 90;
  load.tracked_flows = 0;
  const std::vector<Distortion> found = find_distortions(before, after, load);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_THAT(found[0].consequence, HasSubstr("7 times"));
  EXPECT_THAT(found[1].what, HasSubstr("hypervisor"));
  // What could not be read is not a zero.
  EXPECT_THAT(find_distortions({}, {}, load), IsEmpty());
}

TEST(Distortions, PacketsThatTheKernelSteersTellNoQueueAndMayBeStampedTooEarly) {
  const auto whats = [](const DistortionFacts& facts) {
    std::vector<std::string> texts;
    for (const Distortion& found : find_distortions(facts, facts, {})) {
      texts.push_back(found.what);
    }
    return texts;
  };
  EXPECT_THAT(whats({{"rps.queues", 0}, {"timestamps.before_queue", 1}, {"rfs.flows", 32'768}}), IsEmpty());
  EXPECT_THAT(whats({{"rps.queues", 2}, {"timestamps.before_queue", 1}}), ElementsAre("answers are stamped before they wait"));
  EXPECT_THAT(whats({{"rps.queues", 2}, {"timestamps.before_queue", 0}}), IsEmpty());
  EXPECT_THAT(whats({{"rps.queues", 1}, {"timestamps.before_queue", 0}, {"rfs.flows", 32'768}}),
              ElementsAre("received packets are steered"));
  EXPECT_THAT(whats({{"ntuple.rules", 3}}), ElementsAre("received packets are steered"));
}

}  // namespace
}  // namespace stallscope::probe
