// SPDX-License-Identifier: Apache-2.0
#include "lab/zombie_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::lab {
namespace {

using testing::HasSubstr;

constexpr std::int64_t gib = std::int64_t{1} << 30U;
constexpr ZombieRoom roomy = {.memcg_count = 50,
                              .available_bytes = 16 * gib,
                              .cpu_count = 2,
                              .place_bytes = 16 * gib,
                              .swap_bytes = 2 * gib,
                              .free_swap_bytes = gib};

std::string refusal(int count, PinKind kind, const ZombieRoom& room) {
  const base::Status fits = check_zombie_room(count, kind, room);
  return fits ? "" : fits.error().message();
}

TEST(ZombieRoom, IsEnoughOnARoomyMachineForEveryPin) {
  for (const PinKind kind : {PinKind::tmpfs, PinKind::page_cache, PinKind::dentries, PinKind::swap}) {
    EXPECT_EQ(refusal(60'000, kind, roomy), "");
  }
}

TEST(ZombieRoom, IsBoundedByTheIdsOfMemoryCgroups) {
  ZombieRoom room = roomy;
  room.memcg_count = 4'535;
  EXPECT_EQ(refusal(60'000, PinKind::tmpfs, room), "");
  EXPECT_THAT(refusal(60'001, PinKind::tmpfs, room), testing::AllOf(HasSubstr("65,535"), HasSubstr("--count 60000")));
  room.memcg_count = 65'000;
  EXPECT_THAT(refusal(1, PinKind::tmpfs, room), testing::Not(HasSubstr("--count")));
}

TEST(ZombieRoom, IsBoundedByMemoryThatGrowsWithTheCpus) {
  ZombieRoom room = roomy;
  room.available_bytes = gib;
  const std::string two_cpus = refusal(60'000, PinKind::tmpfs, room);
  EXPECT_THAT(two_cpus, HasSubstr("1.0 GiB of memory"));
  room.cpu_count = 128;
  const std::string many_cpus = refusal(60'000, PinKind::tmpfs, room);
  EXPECT_NE(two_cpus, many_cpus);
  room.available_bytes = 0;
  EXPECT_THAT(refusal(1, PinKind::dentries, room), HasSubstr("memory"));
}

TEST(ZombieRoom, IsBoundedByTheFileSystemOfTheFile) {
  ZombieRoom room = roomy;
  room.place_bytes = 64 << 20U;
  EXPECT_EQ(refusal(16'384, PinKind::tmpfs, room), "");
  EXPECT_THAT(refusal(16'385, PinKind::page_cache, room), HasSubstr("--count 16384"));
  EXPECT_EQ(refusal(60'000, PinKind::dentries, room), "") << "a name takes no page";
}

TEST(ZombieRoom, SaysWhereThereIsNoSwapOrTooLittle) {
  ZombieRoom room = roomy;
  room.free_swap_bytes = 8 << 20U;
  EXPECT_THAT(refusal(2'049, PinKind::swap, room), HasSubstr("--count 2048"));
  EXPECT_EQ(refusal(2'049, PinKind::tmpfs, room), "");
  room.swap_bytes = 0;
  room.free_swap_bytes = 0;
  EXPECT_THAT(refusal(1, PinKind::swap, room), testing::AllOf(HasSubstr("no swap"), HasSubstr("swapon")));
}

}  // namespace
}  // namespace stallscope::lab
