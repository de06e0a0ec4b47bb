// SPDX-License-Identifier: Apache-2.0
#include "census/blocked_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "census/fake_root.h"

namespace stallscope::census {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Thread {
  const char* name = "";
  char state = 'D';
  int start_ticks = 100;
  int switches = 7;
  const char* waits_in = "do_truncate";
};

void add_thread(const FakeRoot& root, const std::string& tgid, const std::string& pid, const Thread& thread) {
  const std::string directory = "/proc/" + tgid + "/task/" + pid;
  root.add_file(directory + "/stat", pid + " (" + thread.name + ") " + thread.state +
                                         " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 " + std::to_string(thread.start_ticks) +
                                         " 20\n");
  root.add_file(directory + "/status",
                "Name:\tx\nvoluntary_ctxt_switches:\t" + std::to_string(thread.switches) + "\nnonvoluntary_ctxt_switches:\t1\n");
  root.add_file(directory + "/wchan", thread.waits_in);
}

BlockedThreads look(const FakeRoot& root, std::int64_t taken_ns) {
  base::Result<BlockedThreads> found = read_blocked_threads(root.path());
  EXPECT_TRUE(found);
  BlockedThreads threads = found ? *found : BlockedThreads{};
  threads.taken_ns = taken_ns;
  return threads;
}

TEST(BlockedTasks, AThreadThatDidNotRunBetweenTwoLooksWasBlockedThroughout) {
  const FakeRoot root;
  add_thread(root, "42", "42", {.state = 'S'});
  add_thread(root, "42", "43", {.name = "a (b) D c"});
  const BlockedThreads before = look(root, 1'000);
  const BlockedThreads after = look(root, 21'000);
  EXPECT_THAT(blocked_throughout(before, after),
              ElementsAre(evidence::BlockedTaskRecord{43, 42, "a (b) D c", "do_truncate", 20'000}));
}

TEST(BlockedTasks, OneThatRanInBetweenOrIsAnotherOfTheSameNumberWasNot) {
  const FakeRoot root;
  add_thread(root, "42", "42", {});
  const BlockedThreads before = look(root, 1'000);
  ASSERT_THAT(before.threads, SizeIs(1));
  add_thread(root, "42", "42", {.switches = 8});
  EXPECT_THAT(blocked_throughout(before, look(root, 2'000)), IsEmpty());
  add_thread(root, "42", "42", {.start_ticks = 101});
  EXPECT_THAT(blocked_throughout(before, look(root, 2'000)), IsEmpty());
}

TEST(BlockedTasks, AnUnknownPlaceIsEmpty) {
  const FakeRoot root;
  add_thread(root, "42", "42", {.waits_in = "0"});
  EXPECT_EQ(look(root, 1).threads.at(0).waits_in, "");
}

TEST(BlockedTasks, WithoutProcThereIsAnError) {
  EXPECT_FALSE(read_blocked_threads("/nowhere"));
}

TEST(BlockedTasks, ReadsTheSettingsThereAre) {
  const FakeRoot root;
  EXPECT_THAT(read_hung_task_settings(root.path()), IsEmpty());
  root.add_file("/proc/sys/kernel/hung_task_timeout_secs", "120\n");
  root.add_file("/proc/sys/kernel/hung_task_panic", "1\n");
  EXPECT_THAT(read_hung_task_settings(root.path()), ElementsAre(evidence::SettingRecord{"kernel.hung_task_timeout_secs", 120},
                                                                evidence::SettingRecord{"kernel.hung_task_panic", 1}));
}

}  // namespace
}  // namespace stallscope::census
