// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace stallscope::trace::perf {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t clock_id = 11;
constexpr std::uint64_t entry_id = 12;
constexpr std::uint64_t switch_id = 13;

/// One record as perf_output_sample() of the kernel lays it out.
class RecordBuilder {
 public:
  RecordBuilder(std::uint32_t type, std::uint16_t misc) { header_.type = type, header_.misc = misc; }
  template <typename T>
  RecordBuilder& add(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    body_.insert(body_.end(), bytes, bytes + sizeof(T));
    return *this;
  }
  RecordBuilder& text(const std::string& text, std::size_t size_bytes) {
    const std::size_t begin = body_.size();
    body_.resize(begin + size_bytes);
    std::memcpy(body_.data() + begin, text.data(), std::min(text.size(), size_bytes));
    return *this;
  }
  RecordBuilder& trailer(std::int32_t tgid, std::int32_t tid, std::uint64_t time_ns, std::uint64_t id) {
    return add(tgid).add(tid).add(time_ns).add(id);
  }
  [[nodiscard]] std::vector<std::byte> build() const {
    perf_event_header header = header_;
    header.size = static_cast<std::uint16_t>(sizeof(header) + body_.size());
    std::vector<std::byte> record(header.size);
    std::memcpy(record.data(), &header, sizeof(header));
    std::copy(body_.begin(), body_.end(), record.begin() + sizeof(header));
    return record;
  }

 private:
  perf_event_header header_{};
  std::vector<std::byte> body_;
};

RecordBuilder sample(std::uint64_t id, std::uint64_t time_ns, std::uint16_t misc = PERF_RECORD_MISC_KERNEL) {
  RecordBuilder builder(PERF_RECORD_SAMPLE, misc);
  builder.add(id).add(std::int32_t{200}).add(std::int32_t{201}).add(time_ns);
  return builder;
}

class Records : public testing::Test {
 protected:
  Records() {
    parser.add_source(clock_id, {EventKind::clock, {}, {}});
    parser.add_source(entry_id, {EventKind::softirq_entry, {8, 4}, {}});
    parser.add_source(switch_id, {EventKind::thread_switch, {24, 4}, {8, 16}});
  }
  std::vector<Event> parse(const std::vector<std::byte>& bytes) {
    std::vector<Event> events;
    parser.parse(bytes, 3, events);
    return events;
  }
  Event only(const std::vector<std::byte>& bytes) {
    const std::vector<Event> events = parse(bytes);
    EXPECT_EQ(events.size(), 1U);
    EXPECT_EQ(parser.malformed_count(), 0);
    return events.empty() ? Event{} : events.front();
  }
  RecordParser parser;
};

TEST_F(Records, ReadsTheStackOfASampleWithoutTheMarksBetween) {
  const Event event = only(sample(clock_id, 5000)
                               .add(std::uint64_t{3})
                               .add(static_cast<std::uint64_t>(PERF_CONTEXT_KERNEL))
                               .add(std::uint64_t{0xffffffff81000010})
                               .add(std::uint64_t{0xffffffff81000020})
                               .build());
  EXPECT_EQ(event.kind, EventKind::clock);
  EXPECT_EQ(event.cpu, 3U);
  EXPECT_EQ(event.time_ns, 5000);
  EXPECT_EQ(event.tgid, 200);
  EXPECT_EQ(event.tid, 201);
  EXPECT_FALSE(event.in_user_space);
  EXPECT_THAT(event.stack, ElementsAre(0xffffffff81000010, 0xffffffff81000020));
}

TEST_F(Records, TellsASampleOfUserSpace) {
  const Event event = only(sample(clock_id, 5000, PERF_RECORD_MISC_USER).add(std::uint64_t{0}).build());
  EXPECT_TRUE(event.in_user_space);
  EXPECT_THAT(event.stack, IsEmpty());
}

TEST_F(Records, ReadsTheFieldsOfTracepointsWhereTheirFormatSaysTheyAre) {
  EXPECT_EQ(only(sample(entry_id, 1).add(std::uint32_t{12}).add(std::uint64_t{0}).add(std::int32_t{3}).build()).value, 3);
  const Event change =
      only(sample(switch_id, 1).add(std::uint32_t{28}).add(std::uint64_t{0}).text("ksoftirqd/0", 16).add(std::int32_t{15}).build());
  EXPECT_EQ(change.kind, EventKind::thread_switch);
  EXPECT_EQ(change.comm, "ksoftirqd/0");
  EXPECT_EQ(change.value, 15);
}

TEST_F(Records, ReadsLossesPausesAndNewNames) {
  std::vector<std::byte> bytes =
      RecordBuilder(PERF_RECORD_LOST, 0).add(clock_id).add(std::uint64_t{42}).trailer(1, 2, 700, clock_id).build();
  const std::vector<std::byte> renamed = RecordBuilder(PERF_RECORD_COMM, 0)
                                             .add(std::int32_t{30})
                                             .add(std::int32_t{31})
                                             .text("cat", 8)
                                             .trailer(30, 31, 800, clock_id)
                                             .build();
  const std::vector<std::byte> paused = RecordBuilder(PERF_RECORD_THROTTLE, 0)
                                            .add(std::uint64_t{900})
                                            .add(clock_id)
                                            .add(clock_id)
                                            .trailer(1, 2, 900, clock_id)
                                            .build();
  bytes.insert(bytes.end(), renamed.begin(), renamed.end());
  bytes.insert(bytes.end(), paused.begin(), paused.end());
  const std::vector<Event> events = parse(bytes);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].kind, EventKind::lost);
  EXPECT_EQ(events[0].value, 42);
  EXPECT_EQ(events[0].time_ns, 700);
  EXPECT_EQ(events[1].kind, EventKind::renamed);
  EXPECT_EQ(events[1].tid, 31);
  EXPECT_EQ(events[1].comm, "cat");
  EXPECT_EQ(events[2].kind, EventKind::clock_paused);
}

TEST_F(Records, PassesOverWhatItDoesNotKnowAndCountsWhatMakesNoSense) {
  const std::vector<std::byte> good = sample(clock_id, 9).add(std::uint64_t{0}).build();
  const std::vector<std::byte> later_kernels = RecordBuilder(200, 0).add(std::uint64_t{1}).build();
  const std::vector<std::vector<std::byte>> bad = {
      sample(999, 1).add(std::uint64_t{0}).build(),                                // an id that is nobody's
      sample(clock_id, 1).add(std::uint64_t{5}).add(std::uint64_t{1}).build(),     // a stack cut short
      sample(entry_id, 1).add(std::uint32_t{4000}).add(std::uint64_t{0}).build(),  // raw data cut short
      sample(entry_id, 1).add(std::uint32_t{8}).add(std::uint64_t{0}).build(),     // too short for its field
      RecordBuilder(PERF_RECORD_LOST, 0).add(std::uint64_t{1}).build(),            // without a trailer
  };
  std::vector<std::byte> bytes = later_kernels;
  for (const std::vector<std::byte>& record : bad) {
    bytes.insert(bytes.end(), record.begin(), record.end());
  }
  bytes.insert(bytes.end(), good.begin(), good.end());
  EXPECT_EQ(parse(bytes).size(), 1U);
  EXPECT_EQ(parser.malformed_count(), static_cast<std::int64_t>(bad.size()));
}

TEST_F(Records, StopsWhereALengthCannotBe) {
  std::vector<std::byte> bytes = sample(clock_id, 9).add(std::uint64_t{0}).build();
  const std::size_t whole = bytes.size();
  bytes.resize(whole + 5);  // a header that was cut
  EXPECT_EQ(parse(bytes).size(), 1U);
  EXPECT_EQ(parser.malformed_count(), 1);
  bytes.resize(whole - 1);
  EXPECT_THAT(parse(bytes), IsEmpty());
  EXPECT_EQ(parser.malformed_count(), 2);
}

}  // namespace
}  // namespace stallscope::trace::perf
