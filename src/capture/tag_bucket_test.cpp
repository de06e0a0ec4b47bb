// SPDX-License-Identifier: Apache-2.0
#include "capture/tag_bucket.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <vector>

namespace stallscope::capture {
namespace {

std::vector<std::size_t> all_of(Ways ways) {
  std::vector<std::size_t> places;
  for (; ways.any(); ways.drop_first()) {
    places.push_back(ways.first());
  }
  return places;
}

TEST(TagBucket, FindsEveryPlaceAndTheFirstForCertain) {
  std::mt19937 random(1);
  std::int64_t wrong_count = 0;
  for (int round = 0; round < 20'000; ++round) {
    TagBucket bucket;
    std::array<TagBucket::Tag, TagBucket::size> tags{};
    // Few different ones, so that neighbours are alike or differ by one bit: what is hard to tell.
    for (std::size_t way = 0; way < tags.size(); ++way) {
      tags[way] = static_cast<TagBucket::Tag>(random() % 4);
      bucket.set(way, tags[way]);
      ASSERT_EQ(bucket.at(way), tags[way]);
    }
    for (TagBucket::Tag tag = 0; tag < 5; ++tag) {
      std::vector<std::size_t> expected;
      for (std::size_t way = 0; way < tags.size(); ++way) {
        if (tags[way] == tag) {
          expected.push_back(way);
        }
      }
      const std::vector<std::size_t> found = all_of(bucket.with(tag));
      ASSERT_EQ(found.empty(), expected.empty());
      if (!found.empty()) {
        ASSERT_EQ(found.front(), expected.front());
      }
      for (const std::size_t way : found) {
        wrong_count += tags[way] == tag ? 0 : 1;
        ASSERT_TRUE(tags[way] == tag || tags[way] == (tag ^ 1U)) << "only its neighbour can be taken for it";
      }
      ASSERT_TRUE(std::includes(found.begin(), found.end(), expected.begin(), expected.end()));
    }
  }
  EXPECT_GT(wrong_count, 0) << "or the promise could be stronger";
}

TEST(TagBucket, NoHashHasTheTagOfAnEmptyPlace) {
  for (std::uint64_t high = 0; high < 256; ++high) {
    EXPECT_NE(TagBucket::tag_of((high << 56U) | 0x123456U), TagBucket::no_tag);
  }
  EXPECT_TRUE(TagBucket().with(TagBucket::no_tag).any());
  EXPECT_FALSE(TagBucket().with(7).any());
}

}  // namespace
}  // namespace stallscope::capture
