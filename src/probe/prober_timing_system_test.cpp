// SPDX-License-Identifier: Apache-2.0
// The prober against a host that the test plays, so that the truth is known packet by packet.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/units.h"
#include "probe/prober.h"
#include "probe/resolve.h"
#include "probe/score_board.h"
#include "probe/test_netns.h"
#include "probe/test_tun_host.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using evidence::AnswerKind;
using evidence::ProbeKind;
using evidence::ProbeRecord;

/// What the two clocks, read one after the other, may differ by when a stamp is converted.
constexpr std::int64_t clock_error_ns = 50'000;

struct Played {
  ProberSummary summary;
  std::vector<ProbeRecord> probes;
  /// As they became known.
  std::vector<std::int64_t> order;
};

class PlayedHost : public testing::Test {
 protected:
  Played play(ProbeKind kind, std::uint16_t port, ProberOptions options) {
    ProbeTarget target;
    target.name = "10.8.0.2";
    target.kind = kind;
    target.to = *resolve_endpoint(target.name);
    target.to.port = port;
    options.targets = {target};
    options.netns = netns_.path();
    base::Result<Prober> prober = Prober::open(options);
    if (!prober) {
      throw std::runtime_error(prober.error().message());
    }
    Played played;
    const auto summary = prober->run({}, [&](const ProbeBatch& batch) {
      for (const ProbeRecord& probe : batch.probes) {
        played.probes.push_back(probe);
        played.order.push_back(probe.sequence);
      }
    });
    if (!summary) {
      throw std::runtime_error(summary.error().message());
    }
    played.summary = *summary;
    std::sort(played.probes.begin(), played.probes.end(), [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
    return played;
  }

  static ProberOptions every(std::int64_t interval_ns, std::int64_t count) {
    ProberOptions options;
    options.interval_ns = interval_ns;
    options.duration_ns = interval_ns * count;
    return options;
  }

  TestNetns netns_;
};

/// Each stamp lies where the played host says the packet was.
void expect_true_times(const std::vector<TunHost::Seen>& seen, const std::vector<ProbeRecord>& probes) {
  ASSERT_EQ(seen.size(), probes.size());
  for (std::size_t i = 0; i < probes.size(); ++i) {
    const ProbeRecord& probe = probes[i];
    ASSERT_FALSE(seen[i].answered_ns.empty());
    const auto [before_ns, after_ns] = *std::min_element(seen[i].answered_ns.begin(), seen[i].answered_ns.end());
    EXPECT_GE(probe.received_ns, before_ns - clock_error_ns) << i;
    EXPECT_LE(probe.received_ns, after_ns + clock_error_ns) << i;
    EXPECT_GE(probe.transmitted_ns, probe.sent_ns) << i;
    EXPECT_LE(probe.transmitted_ns, seen[i].received_ns + clock_error_ns) << i;
  }
}

TEST_F(PlayedHost, AStallIsTimedAsItWas) {
  constexpr std::int64_t count = 60;
  constexpr std::int64_t interval_ns = 2 * ns_per_ms;
  // Packets 20 to 39 are held until the 40th would come, and released together.
  TunHost host(netns_, "10.8.0.1/24", [](std::int64_t number) -> std::vector<std::int64_t> {
    return {number >= 20 && number < 40 ? (40 - number) * interval_ns : 0};
  });
  for (const auto& [kind, port] :
       {std::pair(ProbeKind::tcp_syn, std::uint16_t{80}), std::pair(ProbeKind::icmp_echo, std::uint16_t{0})}) {
    const std::size_t seen_before = host.seen().size();
    const Played played = play(kind, port, every(interval_ns, count));
    std::vector<TunHost::Seen> seen = host.seen();
    seen.erase(seen.begin(), seen.begin() + static_cast<std::ptrdiff_t>(seen_before));
    expect_true_times(seen, played.probes);
    EXPECT_EQ(played.summary.counts.lost, 0);
    if (kind == ProbeKind::icmp_echo) {
      break;  // the host counts on: only the first run stalls
    }
    for (std::size_t i = 20; i < 40; ++i) {
      EXPECT_GE(played.probes[i].rtt_ns(), static_cast<std::int64_t>(40 - i) * interval_ns) << i;
    }
  }
}

TEST_F(PlayedHost, LossDuplicatesReorderingAndResetsAreToldApart) {
  constexpr std::int64_t count = 40;
  TunHost host(netns_, "10.8.0.1/24", [](std::int64_t number) -> std::vector<std::int64_t> {
    switch (number % 4) {
      case 0:
        return {};
      case 1:
        return {0, ns_per_ms};
      case 2:
        return {12 * ns_per_ms};  // after the next three
      default:
        return {0};
    }
  });
  ProberOptions options = every(3 * ns_per_ms, count);
  options.timeout_ns = 200 * ns_per_ms;
  const Played played = play(ProbeKind::tcp_syn, 81, options);
  ASSERT_EQ(played.probes.size(), 40U);
  EXPECT_EQ(played.summary.counts.lost, 10);
  EXPECT_EQ(played.summary.counts.duplicates, 10);
  EXPECT_EQ(played.summary.duplicates[0], 10);
  ScoreBoard board(1, 5 * ns_per_ms);
  std::vector<ProbeRecord> in_order = played.probes;
  std::sort(in_order.begin(), in_order.end(), [&](const auto& a, const auto& b) {
    const auto place = [&](std::int64_t sequence) { return std::find(played.order.begin(), played.order.end(), sequence); };
    return place(a.sequence) < place(b.sequence);
  });
  for (const ProbeRecord& probe : in_order) {
    EXPECT_EQ(probe.answer, probe.sequence % 4 == 0 ? AnswerKind::none : AnswerKind::reset) << probe.sequence;
    board.add(0, probe);
  }
  // The last of them is overtaken by nobody.
  EXPECT_GE(board.total().out_of_order, 9);
  EXPECT_EQ(board.total().late, 10);
}

TEST_F(PlayedHost, AnAnswerAfterTheTimeoutDoesNotUndoTheLoss) {
  TunHost host(netns_, "10.8.0.1/24",
               [](std::int64_t number) -> std::vector<std::int64_t> { return {number == 0 ? 60 * ns_per_ms : 0}; });
  ProberOptions options = every(10 * ns_per_ms, 20);
  options.timeout_ns = 30 * ns_per_ms;
  const Played played = play(ProbeKind::tcp_syn, 80, options);
  EXPECT_EQ(played.summary.counts.lost, 1);
  EXPECT_EQ(played.summary.counts.after_timeout, 1);
  EXPECT_EQ(played.summary.counts.answered, 19);
  EXPECT_EQ(played.order[0], 1) << "lost when the timeout passed, not at the end";
  EXPECT_LT(std::find(played.order.begin(), played.order.end(), 0) - played.order.begin(), 10);
}

TEST_F(PlayedHost, ASinglePortIsNotUsedAgainWhileItsProbeIsOutstanding) {
  TunHost host(netns_, "10.8.0.1/24", [](std::int64_t) -> std::vector<std::int64_t> { return {25 * ns_per_ms}; });
  ProberOptions options = every(10 * ns_per_ms, 30);
  options.source_ports = PortRange{40'000, 40'000};
  const Played played = play(ProbeKind::tcp_syn, 80, options);
  EXPECT_EQ(played.summary.counts.lost, 0);
  EXPECT_GT(played.summary.counts.skipped, 10);
  EXPECT_EQ(played.summary.counts.sent + played.summary.counts.skipped, 30);
  for (std::size_t i = 1; i < played.probes.size(); ++i) {
    EXPECT_GE(played.probes[i].sent_ns, played.probes[i - 1].received_ns);
  }
}

}  // namespace
}  // namespace stallscope::probe
