// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "probe/prober.h"
#include "probe/resolve.h"
#include "probe/sender_thread.h"
#include "probe/test_netns.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using evidence::ProbeRecord;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

ProberOptions probes(const std::string& target, const std::string& netns, std::int64_t count, std::int64_t interval_ns) {
  ProberOptions options;
  options.targets.resize(1);
  options.targets[0].name = target;
  options.targets[0].to = endpoint_of(address(target));
  options.netns = netns;
  options.interval_ns = interval_ns;
  options.duration_ns = count * interval_ns;
  options.timeout_ns = ProberOptions::longest_timeout_ns;
  options.grace_ns = ns_per_s;
  return options;
}

struct EchoOutcome {
  ProberSummary summary;
  std::vector<ProbeRecord> records;
  std::uint16_t identifier = 0;
  std::vector<evidence::GapRecord> gaps;
};

EchoOutcome probe(const ProberOptions& options) {
  base::Result<Prober> prober = Prober::open(options);
  if (!prober) {
    throw std::runtime_error(prober.error().message());
  }
  EchoOutcome outcome;
  outcome.identifier = prober->icmp_identifier().value_or(0);
  outcome.gaps = prober->gaps();
  base::Result<ProberSummary> summary = prober->run({}, [&](const ProbeBatch& batch) {
    outcome.records.insert(outcome.records.end(), batch.probes.begin(), batch.probes.end());
  });
  if (!summary) {
    throw std::runtime_error(summary.error().message());
  }
  outcome.summary = *std::move(summary);
  std::sort(outcome.records.begin(), outcome.records.end(),
            [](const ProbeRecord& a, const ProbeRecord& b) { return a.sequence < b.sequence; });
  return outcome;
}

std::string open_error(const ProberOptions& options) {
  const base::Result<Prober> prober = Prober::open(options);
  return prober ? "opened" : prober.error().message();
}

std::int64_t shortest_rtt_ns(const EchoOutcome& outcome) {
  std::int64_t shortest = ns_per_s;
  for (const ProbeRecord& record : outcome.records) {
    shortest = record.answered() ? std::min(shortest, record.rtt_ns()) : shortest;
  }
  return shortest;
}

/// A client whose route to the target leads over a router.
class Routed : public testing::Test {
 protected:
  Routed() {
    join(client_, "10.201.0.1/24", router_, "10.201.0.2/24");
    router_.set_ipv4("ip_forward", "1");
    client_.ip("route add default via 10.201.0.2");
  }

  TestNetns client_;
  TestNetns router_;
};

TEST(EchoProber, EveryProbeOnLoopbackIsAnswered) {
  const TestNetns netns;
  const EchoOutcome outcome = probe(probes("127.0.0.1", netns.path(), 500, ns_per_ms));
  EXPECT_THAT(outcome.gaps, IsEmpty());
  EXPECT_EQ(outcome.summary.planned, 500);
  EXPECT_EQ(outcome.summary.counts.sent, 500);
  EXPECT_EQ(outcome.summary.counts.answered, 500);
  EXPECT_EQ(outcome.summary.counts.lost, 0);
  EXPECT_EQ(outcome.summary.counts.foreign, 0);
  EXPECT_EQ(outcome.summary.malformed, 0);
  EXPECT_EQ(outcome.summary.socket_drops, 0);
  EXPECT_EQ(outcome.summary.replaced_timestamps, 0);
  ASSERT_EQ(outcome.records.size(), 500U);
  for (std::size_t i = 0; i < outcome.records.size(); ++i) {
    const ProbeRecord& record = outcome.records[i];
    ASSERT_EQ(record.sequence, static_cast<std::int64_t>(i));
    ASSERT_EQ(record.intended_ns, outcome.summary.start_ns + (record.sequence * ns_per_ms));
    ASSERT_GE(record.sent_ns, record.intended_ns);
    ASSERT_GT(record.received_ns, record.sent_ns);
    ASSERT_GE(record.sender_cpu, 0);
  }
}

TEST(EchoProber, SequenceWrapsOnTheWireAndNotInTheRecords) {
  const TestNetns netns;
  // As fast as allowed: 65,536 probes and some take 6.6 s.
  constexpr std::int64_t count = 65'536 + 300;
  const EchoOutcome outcome = probe(probes("127.0.0.1", netns.path(), count, ns_per_s / ProberOptions::default_limit_per_second));
  EXPECT_EQ(outcome.summary.counts.answered, count);
  EXPECT_EQ(outcome.summary.counts.duplicates, 0);
  EXPECT_EQ(outcome.summary.counts.foreign, 0);
  EXPECT_EQ(outcome.records.back().sequence, count - 1);
}

TEST_F(Routed, RttIsThatOfPing) {
  const EchoOutcome outcome = probe(probes("10.201.0.2", client_.path(), 100, 10 * ns_per_ms));
  EXPECT_EQ(outcome.summary.counts.answered, 100);

  const std::string text = client_.output_of("ping -q -i 0.2 -c 5 10.201.0.2");
  const std::size_t figures = text.find(" = ");
  ASSERT_NE(figures, std::string::npos) << text;
  const auto ping_ns = static_cast<std::int64_t>(std::stod(text.substr(figures + 3)) * ns_per_ms);
  EXPECT_GT(shortest_rtt_ns(outcome), ping_ns / 20);
  EXPECT_LT(shortest_rtt_ns(outcome), ping_ns * 20);
}

TEST_F(Routed, BlackholeOnThePathIsLossAndNotLateness) {
  router_.ip("route add blackhole 10.202.0.0/24");
  ProberOptions options = probes("10.202.0.1", client_.path(), 50, 2 * ns_per_ms);
  options.grace_ns = 100 * ns_per_ms;
  const EchoOutcome outcome = probe(options);
  EXPECT_EQ(outcome.summary.counts.sent, 50);
  EXPECT_EQ(outcome.summary.counts.lost, 50);
  EXPECT_EQ(outcome.summary.counts.answered, 0);
  EXPECT_THAT(outcome.summary.errors, IsEmpty());
  ASSERT_THAT(outcome.records, SizeIs(50));
  EXPECT_TRUE(std::none_of(outcome.records.begin(), outcome.records.end(), [](const ProbeRecord& r) { return r.answered(); }));
  EXPECT_GE(outcome.summary.end_ns, outcome.records.back().sent_ns + *options.grace_ns);
}

TEST_F(Routed, IcmpErrorsAreCountedByTypeWithTheirReporter) {
  // Packets that may pass no router, and a router that reports each of them.
  client_.set_ipv4("ip_default_ttl", "1");
  router_.set_ipv4("icmp_ratelimit", "0");
  router_.ip("route add 10.202.0.0/24 dev veth");
  ProberOptions options = probes("10.202.0.1", client_.path(), 20, 5 * ns_per_ms);
  options.grace_ns = 100 * ns_per_ms;
  const EchoOutcome outcome = probe(options);
  EXPECT_EQ(outcome.summary.counts.sent, 20);
  EXPECT_EQ(outcome.summary.counts.lost, 20);
  EXPECT_EQ(outcome.summary.counts.send_failed, 0);
  ASSERT_THAT(outcome.summary.errors, SizeIs(1));
  const ProbeErrorCount& error = outcome.summary.errors[0];
  EXPECT_TRUE(error.icmp);
  EXPECT_EQ(error.what, "time to live exceeded");
  EXPECT_EQ(address_text(error.reporter), "10.201.0.2");
  EXPECT_EQ(error.count, 20);
}

TEST_F(Routed, RefusedSendsAreNeitherSentNorLost) {
  base::Result<Prober> prober = Prober::open(probes("10.201.0.2", client_.path(), 20, 5 * ns_per_ms));
  ASSERT_TRUE(prober) << prober.error().message();
  client_.ip("route add prohibit 10.201.0.2/32");
  const base::Result<ProberSummary> summary = prober->run({}, [](const ProbeBatch&) { FAIL(); });
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->counts.sent, 0);
  EXPECT_EQ(summary->counts.lost, 0);
  EXPECT_EQ(summary->counts.send_failed, 20);
  ASSERT_THAT(summary->errors, SizeIs(1));
  EXPECT_FALSE(summary->errors[0].icmp);
  EXPECT_EQ(summary->errors[0].what, "Permission denied");
  EXPECT_EQ(summary->errors[0].count, 20);
}

TEST(EchoProber, RefusesTargetsThatCannotBeReached) {
  const TestNetns netns;
  const TestNetns peer;
  EXPECT_THAT(open_error(probes("10.9.9.9", netns.path(), 1, ns_per_ms)), HasSubstr("cannot probe 10.9.9.9: no route to it"));
  join(netns, "10.201.0.1/24", peer, "10.201.0.2/24");
  EXPECT_THAT(open_error(probes("10.201.0.255", netns.path(), 1, ns_per_ms)), HasSubstr("broadcast"));
  netns.ip("route add blackhole 10.8.0.0/24");
  EXPECT_THAT(open_error(probes("10.8.0.1", netns.path(), 1, ns_per_ms)), HasSubstr("blackhole"));
  netns.ip("route add unreachable 10.7.0.0/24");
  EXPECT_THAT(open_error(probes("10.7.0.1", netns.path(), 1, ns_per_ms)), HasSubstr("unreachable"));
}

TEST(EchoProber, RefusesWhatIsOutOfBounds) {
  EXPECT_THAT(open_error(probes("127.0.0.1", "", 10, 99'000)), HasSubstr("more than 10,000"));
  EXPECT_THAT(open_error(probes("127.0.0.1", "", 0, ns_per_ms)), HasSubstr("not within 24 h"));
  EXPECT_THAT(open_error(probes("127.0.0.1", "", 90'000, ns_per_s)), HasSubstr("not within 24 h"));
  EXPECT_THAT(open_error(probes("127.0.0.1", "stallscope-none", 1, ns_per_ms)),
              HasSubstr("stallscope-none: there is none of that name\n  List the namespaces with: ip netns"));
  EXPECT_THAT(open_error(probes("127.0.0.1", "/etc/passwd", 1, ns_per_ms)), HasSubstr("not a network namespace"));

  const TestNetns netns;
  ProberOptions options = probes("127.0.0.1", netns.path(), 1, ns_per_ms);
  options.cpu = 100'000;
  base::Result<Prober> prober = Prober::open(options);
  ASSERT_TRUE(prober);
  const base::Result<ProberSummary> summary = prober->run({}, [](const ProbeBatch&) {});
  ASSERT_FALSE(summary);
  EXPECT_THAT(summary.error().message(), HasSubstr("cannot probe from CPU 100000"));
}

TEST(EchoProber, SenderHeldUpByItsSinkSendsEveryProbeAndScoresItFromItsTime) {
  const TestNetns netns;
  constexpr std::int64_t freeze_ns = 50 * ns_per_ms;
  std::vector<ProbeRecord> records;
  std::int64_t frozen_at_ns = 0;
  base::Result<Prober> prober = Prober::open(probes("127.0.0.1", netns.path(), 400, ns_per_ms));
  ASSERT_TRUE(prober) << prober.error().message();
  const base::Result<ProberSummary> summary = prober->run({}, [&](const ProbeBatch& batch) {
    records.insert(records.end(), batch.probes.begin(), batch.probes.end());
    if (frozen_at_ns == 0) {
      // The fault under test: the sending thread does not get to run.
      frozen_at_ns = base::monotonic_ns();
      while (base::monotonic_ns() < frozen_at_ns + freeze_ns) {
      }
    }
  });
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->counts.answered, 400);
  EXPECT_GE(summary->counts.worst_own_lateness_ns, freeze_ns - (2 * ns_per_ms));
  std::int64_t scored_late = 0;
  for (const ProbeRecord& record : records) {
    EXPECT_EQ((record.intended_ns - summary->start_ns) % ns_per_ms, 0);
    if (record.intended_ns > frozen_at_ns && record.intended_ns < frozen_at_ns + freeze_ns) {
      EXPECT_GE(record.score_ns(), frozen_at_ns + freeze_ns - record.intended_ns);
      ++scored_late;
    }
  }
  EXPECT_GE(scored_late, 49);
}

TEST(EchoProber, StopEndsTheRunEarlyAndKeepsWhatWasSeen) {
  const TestNetns netns;
  std::stop_source stop;
  std::int64_t handed_over = 0;
  base::Result<Prober> prober = Prober::open(probes("127.0.0.1", netns.path(), 86'400, ns_per_s));
  ASSERT_TRUE(prober) << prober.error().message();
  base::Result<ProberSummary> summary = ProberSummary{};
  {
    std::jthread runner([&] {
      summary = prober->run(stop.get_token(), [&](const ProbeBatch& batch) {
        handed_over += static_cast<std::int64_t>(batch.probes.size());
        stop.request_stop();
      });
    });
  }
  ASSERT_TRUE(summary);
  EXPECT_TRUE(summary->interrupted);
  EXPECT_GE(summary->counts.sent, 1);
  EXPECT_LT(summary->counts.sent, 5);
  EXPECT_EQ(summary->counts.lost, 0);
  EXPECT_EQ(summary->counts.answered, handed_over);
}

TEST(EchoProber, StopFromAnotherThreadWakesASleepingProber) {
  const TestNetns netns;
  std::stop_source stop;
  // One probe, then an interval of an hour: only the stop can end the run while the test is being watched.
  base::Result<Prober> prober = Prober::open(probes("127.0.0.1", netns.path(), 24, 3600 * ns_per_s));
  ASSERT_TRUE(prober) << prober.error().message();
  base::Result<ProberSummary> summary = ProberSummary{};
  {
    std::jthread runner([&] { summary = prober->run(stop.get_token(), [](const ProbeBatch&) {}); });
    stop.request_stop();
  }
  ASSERT_TRUE(summary);
  EXPECT_TRUE(summary->interrupted);
  EXPECT_LE(summary->counts.sent, 1);
}

/// Calls `action` on a thread without CAP_NET_RAW.
void without_net_raw(const std::function<void()>& action) {
  std::thread([&] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> sets{};
    ASSERT_EQ(syscall(SYS_capget, &header, sets.data()), 0);
    sets[0].effective &= ~(1U << CAP_NET_RAW);
    ASSERT_EQ(syscall(SYS_capset, &header, sets.data()), 0);
    action();
  }).join();
}

TEST(EchoProber, UsesAPingSocketWithoutCapNetRaw) {
  const TestNetns netns;
  netns.set_ipv4("ping_group_range", "0 2147483647");
  without_net_raw([&] {
    const EchoOutcome outcome = probe(probes("127.0.0.1", netns.path(), 100, ns_per_ms));
    EXPECT_THAT(outcome.gaps, SizeIs(1));
    EXPECT_NE(outcome.identifier, 0);
    EXPECT_EQ(outcome.summary.counts.answered, 100);
    EXPECT_EQ(outcome.summary.counts.foreign, 0);
    EXPECT_EQ(outcome.summary.replaced_timestamps, 0);
  });
}

TEST(EchoProber, SaysWhatIsMissingWithoutAnyPermission) {
  const TestNetns netns;
  netns.set_ipv4("ping_group_range", "1 0");
  without_net_raw([&] {
    const std::string error = open_error(probes("127.0.0.1", netns.path(), 1, ns_per_ms));
    EXPECT_THAT(error, HasSubstr("CAP_NET_RAW"));
    EXPECT_THAT(error, HasSubstr("net.ipv4.ping_group_range"));
  });
}

TEST(SenderThread, AvoidsACpuAndGivesTheAffinityBack) {
  const auto cpus = [] {
    cpu_set_t set{};
    sched_getaffinity(0, sizeof set, &set);
    return set;
  };
  const cpu_set_t original = cpus();
  if (CPU_COUNT(&original) < 2) {
    FAIL() << "needs two CPUs";
  }
  std::vector<std::int32_t> allowed;
  for (std::int32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &original)) {
      allowed.push_back(cpu);
    }
  }
  {
    base::Result<SenderThread> thread = SenderThread::tune(std::nullopt, Sleep::between_probes);
    ASSERT_TRUE(thread);
    EXPECT_TRUE(thread->realtime());
    EXPECT_TRUE(thread->preferred());
    for (const std::int32_t cpu : allowed) {
      EXPECT_TRUE(thread->avoid(cpu));
      const cpu_set_t now = cpus();
      EXPECT_FALSE(CPU_ISSET(static_cast<std::size_t>(cpu), &now));
      EXPECT_GT(CPU_COUNT(&now), 0);
    }
    EXPECT_FALSE(thread->avoid(allowed.back())) << "it was left before";
  }
  const cpu_set_t restored = cpus();
  EXPECT_TRUE(CPU_EQUAL(&restored, &original));
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);

  base::Result<SenderThread> pinned = SenderThread::tune(allowed.front(), Sleep::between_probes);
  ASSERT_TRUE(pinned);
  EXPECT_EQ(sched_getcpu(), allowed.front());
  EXPECT_FALSE(pinned->avoid(allowed.front()));
}

TEST(SenderThread, ThatNeverSleepsIsNotRealTimeSoThatTheKernelDoesNotStopIt) {
  const int nice_before = getpriority(PRIO_PROCESS, 0);
  {
    base::Result<SenderThread> thread = SenderThread::tune(std::nullopt, Sleep::never);
    ASSERT_TRUE(thread);
    EXPECT_FALSE(thread->realtime());
    EXPECT_TRUE(thread->preferred());
    EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), -20);
  }
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), nice_before);
}

}  // namespace
}  // namespace stallscope::probe
