// SPDX-License-Identifier: Apache-2.0
#include "cli/stalled_queues.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/text.h"
#include "base/units.h"
#include "report/layout.h"
#include "rss/hash_key.h"
#include "rss/testing.h"

namespace stallscope::cli {
namespace {

using base::ns_per_ms;
using base::ns_per_s;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::int32_t queue_count = 4;
constexpr std::int64_t prompt_ns = 200'000;
constexpr std::int64_t stall_ms = 60;
/// So that no sentence is broken.
constexpr std::size_t wide = 1'000;

rss::QueueMap map_of_key(const std::vector<std::uint8_t>& key) {
  return *rss::QueueMap::make(rss::device_with_key(key, queue_count, rss::fields_addresses | rss::fields_ports));
}

rss::QueueMap wrong_map() {
  std::vector<std::uint8_t> key = rss::verification_key;
  std::reverse(key.begin(), key.end());
  return map_of_key(key);
}

std::uint32_t queue_of_port(std::uint16_t port, bool answers = false) {
  const rss::Flow flow = rss::tcp_flow("10.0.1.1", port, "10.0.1.2", 443);
  return *map_of_key(rss::verification_key).queue_of(answers ? flow.reply() : flow);
}

/// A SYN each millisecond for `seconds`, from `port_count` ports in turn; `holds` says which ports stall, for 60 ms of each second.
evidence::Evidence syns(std::int64_t seconds, std::int64_t port_count, const std::function<bool(std::uint16_t)>& holds) {
  constexpr std::int64_t in_second = 1'000;
  evidence::Evidence evidence;
  evidence.run.end_ns = (seconds + 1) * ns_per_s;
  for (std::int64_t number = 0; number < port_count; ++number) {
    evidence.flows.push_back({number + 1, evidence::ProbeKind::tcp_syn, "10.0.1.2", "10.0.1.1",
                              static_cast<std::uint16_t>(30'000 + number), "10.0.1.2", 443});
  }
  for (std::int64_t ms = 0; ms < seconds * in_second; ++ms) {
    const evidence::FlowRecord& flow = evidence.flows[static_cast<std::size_t>(ms % port_count)];
    evidence::ProbeRecord probe;
    probe.sequence = ms;
    probe.flow_id = flow.id;
    probe.sent_ns = ns_per_s + ms * ns_per_ms;
    probe.intended_ns = probe.sent_ns;
    probe.transmitted_ns = probe.sent_ns;
    const std::int64_t into_stall_ms = ms % in_second - in_second / 2;
    const bool held = into_stall_ms >= 0 && into_stall_ms < stall_ms && holds(flow.source_port);
    probe.received_ns = probe.sent_ns + prompt_ns + (held ? (stall_ms - into_stall_ms) * ns_per_ms : 0);
    probe.answer = evidence::AnswerKind::syn_ack;
    evidence.probes.push_back(probe);
  }
  return evidence;
}

/// 32 connections that send all the time; those of `queue` stall in each of three seconds.
evidence::Evidence busy_connections(std::uint32_t queue, bool answers = false) {
  return syns(3, 32, [&](std::uint16_t port) { return queue_of_port(port, answers) == queue; });
}

diagnose::TargetShape target_of(const evidence::Evidence& evidence) {
  return diagnose::shapes_of(evidence).front();
}

TEST(StalledQueues, NamesTheQueueWhereAllFlowsAgree) {
  const StalledQueues found = find_stalled_queues(target_of(busy_connections(3)), map_of_key(rss::verification_key));
  const std::string text = render_stalled_queues(found, wide);
  EXPECT_THAT(text, HasSubstr("The stalled flows are all of queue 3: 32 of 32 flows"));
  const report::Json json = stalled_queues_json(found);
  EXPECT_EQ(json["groups"][0]["queues"], report::Json::array({3}));
  EXPECT_EQ(json["prediction"]["agreement"], "confirmed");
}

TEST(StalledQueues, NamesNoneByAKeyThatDoesNotFit) {
  const StalledQueues found = find_stalled_queues(target_of(busy_connections(3)), wrong_map());
  const std::string text = render_stalled_queues(found, wide);
  EXPECT_THAT(text, HasSubstr("No queue is named"));
  EXPECT_THAT(text, Not(HasSubstr("all of queue")));
  const report::Json json = stalled_queues_json(found);
  EXPECT_TRUE(json["groups"][0]["queues"].is_null());
  EXPECT_NE(json["prediction"]["agreement"], "confirmed");
}

TEST(StalledQueues, LearnsGroupsWithoutAKey) {
  const StalledQueues found = find_stalled_queues(target_of(busy_connections(2)), std::nullopt);
  ASSERT_EQ(found.learned.groups.size(), 1U);
  for (std::uint32_t flow = 0; flow < 32; ++flow) {
    const std::vector<std::uint32_t>& group = found.learned.groups[0].flows;
    EXPECT_EQ(std::binary_search(group.begin(), group.end(), flow), queue_of_port(static_cast<std::uint16_t>(30'000 + flow)) == 2);
  }
  const std::string text = render_stalled_queues(found, 80);
  EXPECT_THAT(text, HasSubstr("group 1   tcp_syn:443 30"));
  EXPECT_GE(found.learned.groups[0].stall_count, 2);
  EXPECT_TRUE(stalled_queues_json(found)["prediction"].is_null());
  for (const std::string_view line : base::split(text, '\n')) {
    EXPECT_LE(report::display_width(line), 80U) << line;
  }
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(target_of(syns(1, 32, [](auto) { return false; })), std::nullopt), 80),
              IsEmpty());
}

TEST(StalledQueues, NamesTheQueueOfConnectionsThatSendOnce) {
  const evidence::Evidence evidence = syns(1, 1'000, [](std::uint16_t port) { return queue_of_port(port) == 1; });
  const diagnose::TargetShape target = target_of(evidence);
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(target, std::nullopt), 80), IsEmpty());
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(target, wrong_map()), 80), IsEmpty());
  const StalledQueues found = find_stalled_queues(target, map_of_key(rss::verification_key));
  EXPECT_THAT(render_stalled_queues(found, wide), HasSubstr("The packets that stalled are of queue 1, and those of"));
  EXPECT_EQ(stalled_queues_json(found)["prediction"]["queues_held"]["passing"], report::Json::array({0, 2, 3}));
}

TEST(StalledQueues, AreThoseOfTheHostThatIsMeant) {
  // The answers wait in a queue of who asked.
  evidence::Evidence evidence = busy_connections(0, true);
  const std::optional<diagnose::TargetShape> asking = received_by(evidence, "10.0.1.1");
  ASSERT_TRUE(asking);
  EXPECT_EQ(asking->flows.size(), 32U);
  EXPECT_EQ(asking->flows[0].target_address, "10.0.1.2");
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(*asking, map_of_key(rss::verification_key)), wide),
              HasSubstr("The stalled flows are all of queue 0"));
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(target_of(evidence), map_of_key(rss::verification_key)), wide),
              HasSubstr("No queue is named"));
  EXPECT_FALSE(received_by(evidence, "10.0.9.9"));
}

TEST(StalledQueues, NamesThatCameFromAFileAreMadePrintable) {
  diagnose::TargetShape target = target_of(busy_connections(3));
  target.address = "evil\x1b[2J";
  const StalledQueues found = find_stalled_queues(target, std::nullopt);
  EXPECT_THAT(render_stalled_queues(found, 80), Not(HasSubstr("\x1b")));
  EXPECT_THAT(stalled_queues_json(found)["address"].get<std::string>(), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace stallscope::cli
