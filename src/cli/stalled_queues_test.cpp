// SPDX-License-Identifier: Apache-2.0
#include "cli/stalled_queues.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/text.h"
#include "cli/queue_testing.h"
#include "report/layout.h"
#include "rss/testing.h"

namespace stallscope::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using queue_testing::busy_connections;
using queue_testing::map_of_key;
using queue_testing::queue_of_port;
using queue_testing::syns;
using queue_testing::target_of;
using queue_testing::wrong_map;

/// So that no sentence is broken.
constexpr std::size_t wide = 1'000;

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
  const diagnose::TargetShape prompt = target_of(syns(1, 32, [](auto) { return false; }));
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(prompt, std::nullopt), 80), IsEmpty());
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(prompt, map_of_key(rss::verification_key)), 80), IsEmpty());
}

TEST(StalledQueues, NamesTheQueueOfConnectionsThatSendOnce) {
  const evidence::Evidence evidence = syns(1, 1'000, [](std::uint16_t port) { return queue_of_port(port) == 1; });
  const diagnose::TargetShape target = target_of(evidence);
  EXPECT_THAT(render_stalled_queues(find_stalled_queues(target, std::nullopt), 80), IsEmpty());
  const StalledQueues by_wrong_key = find_stalled_queues(target, wrong_map());
  EXPECT_THAT(render_stalled_queues(by_wrong_key, wide), HasSubstr("No queue is named: no flow was seen in enough stalls"));
  EXPECT_FALSE(by_wrong_key.names_queues());
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
