// SPDX-License-Identifier: Apache-2.0
// Cost of a probe and the error of its schedule. Needs CAP_NET_RAW or a ping socket; probes the loopback address alone.
#include <benchmark/benchmark.h>
#include <netinet/in.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <vector>

#include "base/clock.h"
#include "base/units.h"
#include "probe/echo_packet.h"
#include "probe/prober.h"

namespace stallscope::probe {
namespace {

std::int64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (static_cast<std::int64_t>(now.tv_sec) * base::ns_per_s) + now.tv_nsec;
}

/// Build, send, parse and score, without the kernel.
void session_round_trip(benchmark::State& state) {
  ProbeSession session({.interval_ns = 1, .count = std::int64_t{1} << 62U}, {});
  session.begin(0);
  std::int64_t now_ns = 0;
  while (state.KeepRunning()) {
    const std::optional<DueProbe> probe = session.next_due(now_ns);
    EchoPacket packet = build_echo_request({.identifier = 1, .token = 2, .sequence = probe->sequence});
    session.sent(*probe, now_ns, 0, 1);
    // The reply: type 0 instead of 8, which raises the checksum by as much (ones' complement, so the carry goes round).
    packet[0] = std::byte{0};
    unsigned checksum = ((std::to_integer<unsigned>(packet[2]) << 8U) | std::to_integer<unsigned>(packet[3])) + 0x0800U;
    checksum = (checksum & 0xffffU) + (checksum >> 16U);
    packet[2] = static_cast<std::byte>(checksum >> 8U);
    packet[3] = static_cast<std::byte>(checksum & 0xffU);
    const ParsedReply parsed = parse_echo_reply(packet);
    if (parsed.reply) {
      session.received(parsed.reply->label.sequence, now_ns, {.kind = evidence::AnswerKind::echo_reply});
    }
    session.clear_finished();
    ++now_ns;
  }
  state.counters["unanswered"] = static_cast<double>(session.outstanding_count());
}
BENCHMARK(session_round_trip);

double quantile(const std::vector<double>& sorted, double q) {
  return sorted.at(static_cast<std::size_t>(std::llround(q * static_cast<double>(sorted.size() - 1))));
}

/// Argument: interval in microseconds. Manual time is the CPU time of the probing thread per probe; on loopback that includes the
/// kernel's work for request and reply.
void loopback(benchmark::State& state) {
  constexpr std::int64_t duration_ns = 10 * base::ns_per_s;
  std::vector<double> lateness_us;
  std::vector<double> rtt_us;
  double unanswered = 0;
  double realtime = 0;
  while (state.KeepRunning()) {
    ProberOptions options;
    options.targets.resize(1);
    options.targets.front().name = "127.0.0.1";
    options.targets.front().to = endpoint_of(in_addr{htonl(INADDR_LOOPBACK)});
    options.interval_ns = state.range(0) * base::ns_per_us;
    options.duration_ns = duration_ns;
    base::Result<Prober> prober = Prober::open(options);
    if (!prober) {
      state.SkipWithError(prober.error().message().c_str());
      return;
    }
    const std::int64_t before_ns = thread_cpu_ns();
    const base::Result<ProberSummary> summary = prober->run({}, [&](const ProbeBatch& batch) {
      for (const evidence::ProbeRecord& probe : batch.probes) {
        lateness_us.push_back(static_cast<double>(probe.own_lateness_ns()) / base::ns_per_us);
        rtt_us.push_back(static_cast<double>(probe.rtt_ns()) / base::ns_per_us);
      }
    });
    const std::int64_t spent_ns = thread_cpu_ns() - before_ns;
    if (!summary || summary->counts.sent == 0) {
      state.SkipWithError("nothing was sent");
      return;
    }
    realtime = summary->realtime ? 1 : 0;
    unanswered += static_cast<double>(summary->counts.sent - summary->counts.answered);
    state.SetIterationTime(static_cast<double>(spent_ns) / static_cast<double>(base::ns_per_s) /
                           static_cast<double>(summary->counts.sent));
  }
  std::sort(lateness_us.begin(), lateness_us.end());
  std::sort(rtt_us.begin(), rtt_us.end());
  state.counters["late_p50_us"] = quantile(lateness_us, 0.5);
  state.counters["late_p99_us"] = quantile(lateness_us, 0.99);
  state.counters["late_p99.9_us"] = quantile(lateness_us, 0.999);
  state.counters["late_max_us"] = lateness_us.back();
  state.counters["rtt_p50_us"] = quantile(rtt_us, 0.5);
  state.counters["unanswered"] = unanswered;
  state.counters["realtime"] = realtime;
}
BENCHMARK(loopback)
    ->ArgName("interval_us")
    ->Arg(10'000)
    ->Arg(1'000)
    ->Arg(100)
    ->UseManualTime()
    ->Iterations(1)
    ->Unit(benchmark::kNanosecond);

}  // namespace
}  // namespace stallscope::probe
