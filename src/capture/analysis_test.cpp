// SPDX-License-Identifier: Apache-2.0
#include "capture/analysis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/units.h"
#include "capture/testing.h"

namespace stallscope::capture {
namespace {

using namespace testing;

constexpr std::int64_t epoch_ns = 1'700'000'000'000'000'000;
constexpr std::int64_t turn_ns = 20'000;
constexpr std::int64_t usual_rtt_ns = 200'000;
/// More exchanges than a short capture has, so that most are thinned out.
constexpr std::int64_t turn_count = 170'000;

/// SYNs, echoes and requests with responses, with something of all that may happen to them: stalls, losses, what is sent again,
/// times that go backwards, and packets that are nothing of this.
class Mix {
 public:
  Mix() {
    for (std::int64_t turn = 0; turn < turn_count; ++turn) {
      add_turn(turn, epoch_ns + (turn * turn_ns));
    }
    std::stable_sort(timed_.begin(), timed_.end(), [](const Timed& a, const Timed& b) { return a.stands_ns < b.stands_ns; });
    for (const Timed& timed : timed_) {
      const auto number = static_cast<std::uint32_t>(packets_.size() + 1);
      const auto size = static_cast<std::uint32_t>(timed.bytes.size());
      packets_.push_back({timed.time_ns, timed.bytes, size, link_type::raw_ip, 0, number});
    }
  }

  [[nodiscard]] std::span<const Packet> packets() const { return packets_; }

 private:
  struct Timed {
    /// By which it is ordered.
    std::int64_t stands_ns;
    std::int64_t time_ns;
    Buffer bytes;
  };

  void add(std::int64_t time_ns, Buffer bytes, std::int64_t queued_ns = 0) {
    timed_.push_back({time_ns + queued_ns, time_ns, std::move(bytes)});
  }

  void add_turn(std::int64_t turn, std::int64_t now_ns) {
    constexpr std::int64_t stall_turns = 2'500;
    constexpr std::int64_t stall_every_turns = 40'000;
    const std::int64_t phase = turn % stall_every_turns;
    const bool held = turn % 8 == 3 && phase < stall_turns;
    const std::int64_t answered_ns = now_ns + usual_rtt_ns + (held ? (stall_turns - phase) * turn_ns : 0);
    const auto address = static_cast<std::uint32_t>(turn * 0x9e37 % 30'000);
    const std::uint32_t source = 0x0a000000U | address;
    const std::uint32_t target = 0x0b000000U | static_cast<std::uint32_t>(turn % 16);
    const auto port = static_cast<std::uint16_t>(1'024 + (turn % 60'000));
    const auto number = static_cast<std::uint32_t>(turn);
    if (turn % 5 == 0) {
      add_echo(number, now_ns, answered_ns);
    } else if (turn % 5 == 1) {
      add_data(turn, now_ns, answered_ns);
    } else {
      add(now_ns, ipv4(source, target, 6, tcp(port, 443, number, 0, tcp_flag::syn, 8)), turn % 1'000 == 2 ? usual_rtt_ns / 2 : 0);
      if (turn % 20'000 != 7) {
        const auto flags = static_cast<std::uint8_t>(tcp_flag::ack | (turn % 3 == 0 ? tcp_flag::rst : tcp_flag::syn));
        add(answered_ns, ipv4(target, source, 6, tcp(443, port, 77, number + 1, flags, 9, 8)));
      }
    }
    if (turn % 10 == 9) {
      add_datagram(turn, now_ns);
    }
    if (turn % 11 == 0) {
      add(now_ns + 1, ipv4(source, target, 17, {0x10, 1, 0, 2, 0, 8, 0, 0}));
      add(now_ns + 2, {1, 2, 3});
    }
  }

  /// To a host that stands still once.
  void add_datagram(std::int64_t turn, std::int64_t now_ns) {
    constexpr std::int64_t still_from = 60'000;
    constexpr std::int64_t still_until = 65'000;
    constexpr std::uint32_t still_host = 0x0c000001;
    const bool held = turn > still_from && turn < still_until;
    const std::int64_t time_ns = held ? epoch_ns + (still_until * turn_ns) + ((turn - still_from) * 100) : now_ns;
    add(time_ns, ipv4(client, still_host, 17, {0x10, static_cast<std::uint8_t>(turn / 10), 0, 2, 0, 8, 0, 0}));
  }

  void add_echo(std::uint32_t number, std::int64_t now_ns, std::int64_t answered_ns) {
    const auto id = static_cast<std::uint16_t>(number >> 16U);
    const auto sequence = static_cast<std::uint16_t>(number);
    if (number % 2 == 0) {
      add(now_ns, ipv6(1, 2, 58, echo(128, id, sequence)));
      add(answered_ns, ipv6(2, 1, 58, echo(129, id, sequence)));
    } else {
      add(now_ns, ipv4(client, server, 1, echo(8, id, sequence)));
      add(answered_ns, ipv4(server, client, 1, echo(0, id, sequence)));
    }
  }

  /// Of 400 connections, each with a request of two full segments at a time.
  void add_data(std::int64_t turn, std::int64_t now_ns, std::int64_t answered_ns) {
    constexpr std::int64_t connections = 400;
    constexpr std::size_t segment_bytes = 1'448;
    const std::int64_t talk = turn / 5 % connections;
    const auto round = static_cast<std::uint32_t>(turn / 5 / connections);
    const auto port = static_cast<std::uint16_t>(50'000 + talk);
    const std::uint32_t first = round * 2 * segment_bytes;
    const auto segment = [&](std::uint32_t at) {
      Buffer bytes = tcp(port, 80, at, 1 + round, tcp_flag::ack, 100 + round, 7);
      bytes.resize(bytes.size() + segment_bytes, 0x55);
      return ipv4(client, server, 6, bytes);
    };
    add(now_ns, segment(first));
    add(now_ns + 5'000, segment(first + segment_bytes));
    if (turn % 300 == 1) {
      add(now_ns + (2 * base::ns_per_ms), segment(first));
    }
    const std::uint32_t end = first + (2 * segment_bytes);
    add(answered_ns, ipv4(server, client, 6, tcp(80, port, 1 + round, end, tcp_flag::ack, 7, 100 + round)));
    Buffer response = tcp(80, port, 1 + round, end, tcp_flag::ack, 7, 100 + round);
    response.push_back(0x55);
    add(answered_ns + (turn % 700 == 1 ? 30 * base::ns_per_ms : 40'000), ipv4(server, client, 6, response));
  }

  std::vector<Timed> timed_;
  std::vector<Packet> packets_;
};

const Mix& mix() {
  static const Mix all;
  return all;
}

PipeOptions on_one_thread() {
  return {.may_start_thread = false};
}

Findings analyse(std::span<const Packet> packets, const PipeOptions& pipe) {
  constexpr std::size_t read_at_once = 256;
  Analysis analysis(false, pipe);
  while (!packets.empty()) {
    const auto batch = packets.first(std::min(packets.size(), read_at_once));
    analysis.add(batch);
    packets = packets.subspan(batch.size());
  }
  return analysis.finish();
}

void expect_same(const Findings& a, const Findings& b) {
  EXPECT_TRUE(a.counts == b.counts);
  EXPECT_TRUE(a.legs == b.legs);
  EXPECT_TRUE(a.exchanges == b.exchanges);
  EXPECT_TRUE(a.unjudged == b.unjudged);
  EXPECT_TRUE(a.late_responses == b.late_responses);
  EXPECT_TRUE(a.releases == b.releases);
  EXPECT_EQ(a.thinned_count, b.thinned_count);
  EXPECT_EQ(a.left_out_count, b.left_out_count);
  EXPECT_EQ(a.delayed_ack_count, b.delayed_ack_count);
  EXPECT_EQ(a.response_count, b.response_count);
  EXPECT_EQ(a.releases_left_out_count, b.releases_left_out_count);
}

TEST(Analysis, FindsTheSameOnTwoThreadsAsOnOne) {
  const Findings one = analyse(mix().packets(), on_one_thread());
  // There is something of everything that could differ.
  EXPECT_GT(one.thinned_count, 0);
  EXPECT_GT(one.exchanges.size(), 10'000U);
  EXPECT_FALSE(one.unjudged.empty());
  EXPECT_FALSE(one.late_responses.empty());
  EXPECT_FALSE(one.releases.empty());
  EXPECT_GT(one.counts.retransmitted_count, 0);
  EXPECT_GT(one.counts.backwards_count, 0);
  EXPECT_GT(one.counts.other_count, 0);
  EXPECT_EQ(one.counts.forgotten_count, 0) << "which one gives way is a matter of chance";
  for (const PipeOptions& pipe :
       {PipeOptions{.may_start_thread = true, .alone_count = 0}, PipeOptions{.may_start_thread = true, .alone_count = 100'000},
        PipeOptions{.may_start_thread = true, .alone_count = 0, .batch_size = 33, .batch_count = 1}}) {
    expect_same(one, analyse(mix().packets(), pipe));
  }
}

TEST(Analysis, FindsAllOfWhatItGotWhenItIsEndedEarly) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{40}, std::size_t{1'500}, std::size_t{100'001}}) {
    const auto packets = mix().packets().first(count);
    const Findings one = analyse(packets, on_one_thread());
    EXPECT_EQ(one.counts.packet_count, static_cast<std::int64_t>(count));
    expect_same(one, analyse(packets, {.may_start_thread = true, .alone_count = 0}));
  }
}

TEST(Analysis, CanBeLeftUnfinished) {
  Analysis analysis(false, {.may_start_thread = true, .alone_count = 0});
  analysis.add(mix().packets().first(50'000));
  EXPECT_EQ(analysis.packet_count(), 50'000);
}

}  // namespace
}  // namespace stallscope::capture
