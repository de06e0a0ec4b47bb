// SPDX-License-Identifier: Apache-2.0
#include "capture/fact_pipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

namespace stallscope::capture {
namespace {

constexpr std::uint32_t pushed_count = 5'000;

PipeOptions ring(std::size_t batch_size, std::size_t batch_count, std::int64_t alone_count = 0) {
  return {.may_start_thread = true, .alone_count = alone_count, .batch_size = batch_size, .batch_count = batch_count};
}

/// What was taken, and by which threads.
struct Taken {
  std::vector<std::uint32_t> numbers;
  std::int64_t elsewhere_count = 0;

  void add(std::span<const PacketFacts> facts, std::thread::id here) {
    for (const PacketFacts& each : facts) {
      numbers.push_back(each.segment.packet);
      elsewhere_count += std::this_thread::get_id() != here ? 1 : 0;
    }
  }
  /// From 1 on, none twice and none left out.
  void expect_in_order(std::uint32_t count) const {
    ASSERT_EQ(numbers.size(), count);
    for (std::uint32_t at = 0; at < count; ++at) {
      ASSERT_EQ(numbers[at], at + 1);
    }
  }
};

void push(FactPipe& pipe, std::uint32_t count) {
  for (std::uint32_t number = 1; number <= count; ++number) {
    pipe.next().segment.packet = number;
    pipe.push();
  }
}

TEST(FactPipe, TakesAllInOrderWhateverTheRing) {
  const auto here = std::this_thread::get_id();
  for (const PipeOptions& options : {ring(1, 1), ring(3, 1), ring(1, 2), ring(7, 3), ring(64, 8), ring(10'000, 2)}) {
    Taken taken;
    FactPipe pipe(options, [&](std::span<const PacketFacts> facts) { taken.add(facts, here); });
    push(pipe, pushed_count);
    pipe.finish();
    taken.expect_in_order(pushed_count);
    EXPECT_GT(taken.elsewhere_count, 0);
  }
}

TEST(FactPipe, StartsNoThreadForAFewOrWhereNoneIsWanted) {
  const auto here = std::this_thread::get_id();
  PipeOptions never = ring(16, 4);
  never.may_start_thread = false;
  for (const PipeOptions& options : {never, ring(16, 4, pushed_count + 1)}) {
    Taken taken;
    FactPipe pipe(options, [&](std::span<const PacketFacts> facts) { taken.add(facts, here); });
    push(pipe, pushed_count);
    pipe.finish();
    taken.expect_in_order(pushed_count);
    EXPECT_EQ(taken.elsewhere_count, 0);
  }
}

TEST(FactPipe, KeepsTheOrderWhereTheThreadTakesOver) {
  const auto here = std::this_thread::get_id();
  constexpr std::int64_t alone_count = 1'000;
  Taken taken;
  FactPipe pipe(ring(16, 4, alone_count), [&](std::span<const PacketFacts> facts) { taken.add(facts, here); });
  push(pipe, pushed_count);
  pipe.finish();
  taken.expect_in_order(pushed_count);
  EXPECT_GT(taken.elsewhere_count, 0);
  EXPECT_LE(taken.elsewhere_count, pushed_count - alone_count);
}

TEST(FactPipe, WaitsForWhoTakesSlowly) {
  const auto here = std::this_thread::get_id();
  constexpr std::uint32_t batch_size = 16;
  constexpr std::uint32_t batch_count = 2;
  // What can be pushed while one batch is being taken; the next push has to wait.
  constexpr std::uint32_t room = (batch_size * batch_count) - 1;
  Taken taken;
  std::atomic<std::uint32_t> pushed = 0;
  FactPipe pipe(ring(batch_size, batch_count), [&](std::span<const PacketFacts> facts) {
    // The first batch is taken by who pushes, before there is a thread.
    const auto full = std::min<std::uint32_t>(static_cast<std::uint32_t>(taken.numbers.size()) + room, pushed_count);
    while (std::this_thread::get_id() != here && pushed.load() < full) {
      std::this_thread::yield();
    }
    taken.add(facts, here);
  });
  for (std::uint32_t number = 1; number <= pushed_count; ++number) {
    pipe.next().segment.packet = number;
    pipe.push();
    pushed.store(number);
  }
  pipe.finish();
  taken.expect_in_order(pushed_count);
}

TEST(FactPipe, EndsWithoutBeingFinished) {
  const auto here = std::this_thread::get_id();
  Taken taken;
  {
    FactPipe pipe(ring(16, 4), [&](std::span<const PacketFacts> facts) { taken.add(facts, here); });
    push(pipe, pushed_count);
  }
  // Whatever was taken was so in order, and nothing is afterwards.
  EXPECT_LE(taken.numbers.size(), pushed_count);
  taken.expect_in_order(static_cast<std::uint32_t>(taken.numbers.size()));
}

TEST(FactPipe, FinishesWithNothingInIt) {
  Taken taken;
  FactPipe pipe(ring(16, 4), [&](std::span<const PacketFacts> facts) { taken.add(facts, std::this_thread::get_id()); });
  pipe.finish();
  taken.expect_in_order(0);
}

TEST(FactPipe, TellsWhoPushesWhatFailed) {
  const auto fail = [](std::span<const PacketFacts> /*facts*/) { throw std::runtime_error("no room"); };
  FactPipe few(ring(64, 4), fail);
  EXPECT_THROW(
      {
        push(few, 100);
        few.finish();
      },
      std::runtime_error);
  // More than the ring holds: it must not wait for one who takes no more.
  FactPipe many(ring(4, 2), fail);
  EXPECT_THROW(push(many, pushed_count), std::runtime_error);
}

}  // namespace
}  // namespace stallscope::capture
