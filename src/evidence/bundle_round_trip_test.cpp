// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "evidence/columns.h"
#include "evidence/test_evidence.h"

namespace stallscope::evidence {
namespace {

template <typename Record>
void expect_no_defaults(const Record& record) {
  const Record defaults;
  for_each_column<Record>([&](const auto& column) {
    if (column.range.minimum != column.range.maximum) {
      EXPECT_NE(std::invoke(column.member, record), std::invoke(column.member, defaults))
          << Table<Record>::name << "." << column.name;
    }
  });
}

// The round trip proves nothing about a field that has its default value on both sides.
TEST(RoundTrip, TestsEveryColumn) {
  const Evidence evidence = complete_evidence();
  expect_no_defaults(OnlyRow<RunRecord>{evidence.run});
  expect_no_defaults(evidence.probes.front());
  expect_no_defaults(evidence.packets.front());
  expect_no_defaults(evidence.waits.front());
  Occupant occupant = evidence.waits.front().occupants.front();
  occupant.syscall_number = 17;
  expect_no_defaults(OccupantRow{occupant, 7, 1});
  expect_no_defaults(evidence.samples.front());
  expect_no_defaults(evidence.flushes.front());
  expect_no_defaults(OnlyRow<MemcgCensusRecord>{*evidence.memcg_census});
  expect_no_defaults(evidence.pinning_files.front());
  expect_no_defaults(evidence.stat_reads.front());
  expect_no_defaults(evidence.memory.front());
  expect_no_defaults(evidence.slabs.front());
  expect_no_defaults(evidence.counters.front());
  expect_no_defaults(evidence.blocked_tasks.front());
  expect_no_defaults(evidence.settings.front());
  expect_no_defaults(evidence.sockets.front());
  expect_no_defaults(evidence.throttled_cgroups.front());
  expect_no_defaults(evidence.gaps.front());
  expect_no_defaults(evidence.losses.front());
}

TEST(RoundTrip, EveryFieldComesBack) {
  const TemporaryDirectory directory = test_directory();
  const std::string path = directory.path() + "/run.stall";
  const Evidence written = complete_evidence();
  write_evidence(path, written);

  const Evidence read = value_of(read_bundle(path));
  EXPECT_EQ(read.run, written.run);
  EXPECT_EQ(read.probes, written.probes);
  EXPECT_EQ(read.packets, written.packets);
  EXPECT_EQ(read.waits, written.waits);
  EXPECT_EQ(read.stacks, written.stacks);
  EXPECT_EQ(read.samples, written.samples);
  EXPECT_EQ(read.flushes, written.flushes);
  EXPECT_EQ(read.memcg_census, written.memcg_census);
  EXPECT_EQ(read, written);
}

TEST(RoundTrip, UnknownStaysUnknown) {
  const TemporaryDirectory directory = test_directory();
  const std::string path = directory.path() + "/run.stall";
  Evidence written;
  written.memcg_census = MemcgCensusRecord{};
  WaitRecord wait;
  wait.id = 1;
  wait.occupants.emplace_back();
  written.waits = {wait};
  written.probes = {ProbeRecord{}};
  write_evidence(path, written);
  EXPECT_EQ(value_of(read_bundle(path)), written);
}

TEST(RoundTrip, EveryModeContextAndLegComesBack) {
  const TemporaryDirectory directory = test_directory();
  const std::string path = directory.path() + "/run.stall";
  Evidence written;
  for (const WaitMode mode : all_wait_modes) {
    WaitRecord wait;
    wait.id = static_cast<std::int64_t>(written.waits.size()) + 1;
    wait.mode = mode;
    written.waits.push_back(wait);
  }
  for (const ServedBy context : all_served_by) {
    for (const PacketLeg leg : all_packet_legs) {
      PacketRecord packet;
      packet.served_by = context;
      packet.leg = leg;
      written.packets.push_back(packet);
    }
  }
  write_evidence(path, written);
  EXPECT_EQ(value_of(read_bundle(path)), written);
}

}  // namespace
}  // namespace stallscope::evidence
