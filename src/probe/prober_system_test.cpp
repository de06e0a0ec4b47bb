// SPDX-License-Identifier: Apache-2.0
#include "probe/prober.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "probe/resolve.h"
#include "probe/responder.h"
#include "probe/test_netns.h"

namespace stallscope::probe {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using evidence::AnswerKind;
using evidence::ProbeKind;
using evidence::ProbeRecord;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::uint16_t open_port = 80;
constexpr std::uint16_t closed_port = 81;

/// A socket in another namespace that listens and never accepts.
base::OwnedFd listen_in(const TestNetns& netns, int family, std::uint16_t port) {
  base::OwnedFd fd;
  netns.run([&] {
    fd = base::OwnedFd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Endpoint any;
    any.family = family;
    any.port = port;
    SocketAddress address{};
    constexpr int on = 1;
    if (family == AF_INET6) {
      setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    const socklen_t length = to_socket_address(any, address);
    if (bind(fd.get(), &address.any, length) != 0 || listen(fd.get(), 128) != 0) {
      fd.reset();
    }
  });
  EXPECT_TRUE(fd);
  return fd;
}

struct ProbeOutcome {
  ProberSummary summary;
  std::vector<ProbeRecord> probes;
  std::vector<evidence::HttpRecord> exchanges;
  std::vector<evidence::FlowRecord> flows;
};

ProbeOutcome run_probes(const ProberOptions& options) {
  base::Result<Prober> prober = Prober::open(options);
  if (!prober) {
    throw std::runtime_error(prober.error().message());
  }
  ProbeOutcome outcome;
  const base::Result<ProberSummary> summary = prober->run({}, [&](const ProbeBatch& batch) {
    outcome.probes.insert(outcome.probes.end(), batch.probes.begin(), batch.probes.end());
    outcome.exchanges.insert(outcome.exchanges.end(), batch.exchanges.begin(), batch.exchanges.end());
  });
  if (!summary) {
    throw std::runtime_error(summary.error().message());
  }
  outcome.summary = *summary;
  std::sort(outcome.probes.begin(), outcome.probes.end(), [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  for (const ProbeRecord& probe : outcome.probes) {
    outcome.flows.push_back(prober->flow(probe.flow_id));
  }
  return outcome;
}

ProbeTarget target(ProbeKind kind, const std::string& text, std::uint16_t port) {
  ProbeTarget made;
  made.name = text;
  made.kind = kind;
  const base::Result<Endpoint> resolved = resolve_endpoint(text);
  if (!resolved) {
    throw std::runtime_error(resolved.error().message());
  }
  made.to = *resolved;
  made.to.port = port;
  made.http_host = text;
  return made;
}

/// The prober's namespace and, behind a pair of Ethernet devices, the target's, with addresses of both families.
class ProberSystem : public testing::Test {
 protected:
  void SetUp() override {
    join(here_, "10.9.0.1/24", far_, "10.9.0.2/24");
    here_.ip("-6 addr add fd09::1/64 dev veth nodad");
    far_.ip("-6 addr add fd09::2/64 dev veth nodad");
    // The first packets wait for the addresses of the link layer.
    static_cast<void>(here_.output_of("ping -c 3 -i 0.2 -W 2 10.9.0.2; ping -6 -c 10 -i 0.2 -W 2 fd09::2 || ping -6 -c 5 fd09::2"));
  }

  [[nodiscard]] ProberOptions options(std::vector<ProbeTarget> targets) const {
    ProberOptions made;
    made.targets = std::move(targets);
    made.netns = here_.path();
    made.interval_ns = 5 * ns_per_ms;
    made.duration_ns = ns_per_s / 4;
    return made;
  }

  /// Connections of the far namespace that are half open.
  [[nodiscard]] int half_open_count() const {
    const std::string rows = far_.output_of("ss -Htan state syn-recv");
    return static_cast<int>(std::count(rows.begin(), rows.end(), '\n'));
  }

  TestNetns here_;
  TestNetns far_;
};

void expect_stamped(const ProbeOutcome& outcome) {
  for (const ProbeRecord& probe : outcome.probes) {
    EXPECT_GE(probe.transmitted_ns, probe.sent_ns);
    EXPECT_LE(probe.transmitted_ns, probe.received_ns);
  }
  EXPECT_EQ(outcome.summary.replaced_timestamps, 0);
}

TEST_F(ProberSystem, TellsOpenFromClosedPortsAndLeavesNoHalfOpenConnection) {
  for (const auto& [family, address] : std::map<int, std::string>{{AF_INET, "10.9.0.2"}, {AF_INET6, "fd09::2"}}) {
    const base::OwnedFd listener = listen_in(far_, family, open_port);
    const ProbeOutcome outcome =
        run_probes(options({target(ProbeKind::tcp_syn, address, open_port), target(ProbeKind::tcp_syn, address, closed_port)}));
    ASSERT_EQ(outcome.probes.size(), 100U);
    EXPECT_EQ(outcome.summary.counts.lost, 0);
    std::set<std::uint16_t> ports;
    for (std::size_t i = 0; i < outcome.probes.size(); ++i) {
      const bool open = i % 2 == 0;
      EXPECT_EQ(outcome.probes[i].answer, open ? AnswerKind::syn_ack : AnswerKind::reset) << address << i;
      EXPECT_EQ(outcome.flows[i].target_port, open ? open_port : closed_port);
      EXPECT_EQ(outcome.flows[i].target_address, address);
      if (open) {
        ports.insert(outcome.flows[i].source_port);
      }
    }
    EXPECT_EQ(ports.size(), 50U) << "source ports rotate";
    expect_stamped(outcome);
    EXPECT_EQ(half_open_count(), 0);
  }
}

TEST_F(ProberSystem, EchoesOverBothFamilies) {
  const ProbeOutcome outcome =
      run_probes(options({target(ProbeKind::icmp_echo, "10.9.0.2", 0), target(ProbeKind::icmp_echo, "fd09::2", 0)}));
  EXPECT_EQ(outcome.summary.counts.answered, 100);
  EXPECT_THAT(outcome.summary.errors, IsEmpty());
  for (const ProbeRecord& probe : outcome.probes) {
    EXPECT_EQ(probe.answer, AnswerKind::echo_reply);
  }
  EXPECT_EQ(outcome.flows[0].source_address, "10.9.0.1");
  EXPECT_EQ(outcome.flows[1].source_address, "fd09::1");
  expect_stamped(outcome);
}

TEST_F(ProberSystem, ResponderAnswersWithItsOwnTimes) {
  Endpoint everywhere;
  everywhere.family = AF_INET;
  everywhere.port = ResponderOptions::default_port;
  Endpoint everywhere6 = everywhere;
  everywhere6.family = AF_INET6;
  base::Result<Responder> responder = Responder::open({.listen = {everywhere, everywhere6}, .netns = far_.path()});
  ASSERT_TRUE(responder) << responder.error().message();
  base::Result<ResponderCounts> counts = ResponderCounts{};
  std::jthread thread([&](const std::stop_token& stop) { counts = responder->run(stop); });
  ProberOptions given =
      options({target(ProbeKind::udp_echo, "10.9.0.2", everywhere.port), target(ProbeKind::udp_echo, "fd09::2", everywhere.port)});
  given.source_ports = PortRange{50'000, 50'003};
  const ProbeOutcome outcome = run_probes(given);
  thread.request_stop();
  thread.join();
  EXPECT_EQ(outcome.summary.counts.answered, 100);
  std::set<std::uint16_t> ports;
  for (std::size_t i = 0; i < outcome.probes.size(); ++i) {
    EXPECT_EQ(outcome.probes[i].answer, AnswerKind::udp_answer);
    EXPECT_GE(outcome.probes[i].far_host_ns, 0);
    EXPECT_LE(outcome.probes[i].far_host_ns, outcome.probes[i].rtt_ns());
    ports.insert(outcome.flows[i].source_port);
  }
  EXPECT_EQ(ports, (std::set<std::uint16_t>{50'000, 50'001, 50'002, 50'003}));
  expect_stamped(outcome);
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->answered, 100);
}

TEST_F(ProberSystem, ClosedUdpPortIsReportedByName) {
  far_.set_ipv4("icmp_ratemask", "0");
  const ProbeOutcome outcome = run_probes(options({target(ProbeKind::udp_echo, "10.9.0.2", 9)}));
  EXPECT_EQ(outcome.summary.counts.answered, 0);
  ASSERT_THAT(outcome.summary.errors, Not(IsEmpty()));
  EXPECT_EQ(outcome.summary.errors[0].what, "port unreachable");
  EXPECT_EQ(address_text(outcome.summary.errors[0].reporter), "10.9.0.2");
}

TEST_F(ProberSystem, RefusesBroadcastAndUnroutableTargets) {
  const base::Result<Prober> broadcast = Prober::open(options({target(ProbeKind::tcp_syn, "10.9.0.255", 80)}));
  ASSERT_FALSE(broadcast);
  EXPECT_THAT(broadcast.error().message(), HasSubstr("broadcast"));
  EXPECT_FALSE(Prober::open(options({target(ProbeKind::icmp_echo, "10.77.0.1", 0)})));
}

/// A web server that takes its time before the first byte and before the last.
class SlowWebServer {
 public:
  static constexpr std::int64_t pause_ns = 20 * ns_per_ms;

  explicit SlowWebServer(base::OwnedFd listener) : listener_(std::move(listener)), thread_([this] { serve(); }) {}
  ~SlowWebServer() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  SlowWebServer(const SlowWebServer&) = delete;
  SlowWebServer& operator=(const SlowWebServer&) = delete;
  SlowWebServer(SlowWebServer&&) = delete;
  SlowWebServer& operator=(SlowWebServer&&) = delete;

  /// When it began to send the head and the body of each answer.
  struct Sent {
    std::int64_t head_ns = 0;
    std::int64_t body_ns = 0;
  };
  [[nodiscard]] std::vector<Sent> sent() const {
    const std::lock_guard lock(mutex_);
    return sent_;
  }

 private:
  void serve() {
    const auto wait_a_while = [] { std::this_thread::sleep_for(std::chrono::nanoseconds(pause_ns)); };
    while (true) {
      const base::OwnedFd client(accept(listener_.get(), nullptr, nullptr));
      if (!client) {
        return;
      }
      std::array<char, 1024> request{};
      [[maybe_unused]] const ssize_t got = recv(client.get(), request.data(), request.size(), 0);
      Sent sent;
      const auto answer = [&](std::string_view part, std::int64_t& at_ns) {
        wait_a_while();
        at_ns = base::monotonic_ns();
        [[maybe_unused]] const ssize_t bytes = send(client.get(), part.data(), part.size(), MSG_NOSIGNAL);
      };
      answer("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n", sent.head_ns);
      answer("o", sent.body_ns);
      const std::lock_guard lock(mutex_);
      sent_.push_back(sent);
      // The answer is whole only now, so that the times of each exchange that ended are there.
      [[maybe_unused]] const ssize_t bytes = send(client.get(), "k", 1, MSG_NOSIGNAL);
    }
  }

  base::OwnedFd listener_;
  mutable std::mutex mutex_;
  std::vector<Sent> sent_;
  std::thread thread_;  // last: it uses the others
};

TEST_F(ProberSystem, HttpPhasesAreTimedApart) {
  const SlowWebServer server(listen_in(far_, AF_INET, open_port));
  ProberOptions given = options({target(ProbeKind::http_get, "10.9.0.2", open_port)});
  given.interval_ns = 50 * ns_per_ms;
  const ProbeOutcome outcome = run_probes(given);
  ASSERT_EQ(outcome.exchanges.size(), 5U);
  const std::vector<SlowWebServer::Sent> sent = server.sent();
  ASSERT_EQ(sent.size(), 5U);
  for (std::size_t i = 0; i < outcome.exchanges.size(); ++i) {
    const evidence::HttpRecord& exchange = outcome.exchanges[i];
    EXPECT_EQ(outcome.probes[i].answer, AnswerKind::http_response);
    EXPECT_EQ(exchange.status, 503);
    EXPECT_GE(exchange.connected_ns, outcome.probes[i].sent_ns);
    EXPECT_LE(exchange.connected_ns, sent[i].head_ns);
    // By the server's own times: a first byte that is seen late makes the phase after it shorter than the server's pause.
    EXPECT_GE(exchange.first_byte_ns, sent[i].head_ns);
    EXPECT_LT(exchange.first_byte_ns, sent[i].body_ns);
    EXPECT_GE(exchange.finished_ns, sent[i].body_ns);
  }
}

TEST_F(ProberSystem, HttpProbesWithoutAResponseSayHowFarTheyCame) {
  // Nobody accepts: the kernel does, and no response ever comes.
  const base::OwnedFd silent = listen_in(far_, AF_INET, open_port);
  ProberOptions given =
      options({target(ProbeKind::http_get, "10.9.0.2", open_port), target(ProbeKind::http_get, "10.9.0.2", closed_port)});
  given.interval_ns = 100 * ns_per_ms;
  given.timeout_ns = 200 * ns_per_ms;
  const ProbeOutcome outcome = run_probes(given);
  ASSERT_THAT(outcome.probes, Not(IsEmpty()));
  ASSERT_EQ(outcome.exchanges.size(), outcome.probes.size());
  std::int64_t connected_count = 0;
  for (const evidence::HttpRecord& exchange : outcome.exchanges) {
    const auto probe = static_cast<std::size_t>(exchange.sequence);
    EXPECT_EQ(exchange.first_byte_ns, evidence::HttpRecord::not_reached);
    const bool connected = exchange.connected_ns != evidence::HttpRecord::not_reached;
    EXPECT_EQ(outcome.probes.at(probe).answer, connected ? AnswerKind::none : AnswerKind::reset);
    EXPECT_EQ(connected, outcome.flows.at(probe).target_port == open_port);
    connected_count += connected ? 1 : 0;
  }
  EXPECT_EQ(connected_count, static_cast<std::int64_t>(outcome.probes.size()) / 2);
}

TEST_F(ProberSystem, WithoutRawSocketsSynsBecomeConnectionsAndSaysSo) {
  const base::OwnedFd listener = listen_in(far_, AF_INET, open_port);
  const std::vector<ProbeTarget> targets = {target(ProbeKind::tcp_syn, "10.9.0.2", open_port),
                                            target(ProbeKind::tcp_syn, "10.9.0.2", closed_port)};
  here_.run([&] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> sets{};
    ASSERT_EQ(syscall(SYS_capget, &header, sets.data()), 0);
    sets[0].effective &= ~(1U << CAP_NET_RAW);
    ASSERT_EQ(syscall(SYS_capset, &header, sets.data()), 0);
    ProberOptions given = options(targets);
    given.netns.clear();
    base::Result<Prober> prober = Prober::open(given);
    ASSERT_TRUE(prober) << prober.error().message();
    ASSERT_EQ(prober->gaps().size(), 1U);
    EXPECT_THAT(prober->gaps()[0].reason, HasSubstr("CAP_NET_RAW"));
    EXPECT_EQ(prober->targets()[0].kind, ProbeKind::tcp_connect);
    std::vector<ProbeRecord> records;
    const base::Result<ProberSummary> summary =
        prober->run({}, [&](const ProbeBatch& batch) { records.insert(records.end(), batch.probes.begin(), batch.probes.end()); });
    ASSERT_TRUE(summary) << summary.error().message();
    EXPECT_EQ(summary->counts.answered, 100);
    for (const ProbeRecord& probe : records) {
      EXPECT_EQ(probe.answer, probe.sequence % 2 == 0 ? AnswerKind::syn_ack : AnswerKind::reset) << probe.sequence;
    }
  });
}

}  // namespace
}  // namespace stallscope::probe
