// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/task_names.h"

#include <gtest/gtest.h>

#include <string>

#include "evidence/records.h"
#include "host/fake_tree.h"

namespace stallscope::trace::perf {
namespace {

std::string cgroup_names(const trace_task& task) {
  return {static_cast<const char*>(task.cgroup), task.cgroup_bytes};
}

trace_task described(TaskNames& names, std::int32_t tid) {
  trace_task task{};
  task.pid = tid;
  names.describe(task, 1);
  return task;
}

TEST(MemoryCgroup, IsThatOfTheMemoryControllerOrElseTheUnifiedOne) {
  EXPECT_EQ(memory_cgroup_of("5:cpu,cpuacct:/a\n4:memory:/pods/x:y\n0::/unified\n"), "/pods/x:y");
  EXPECT_EQ(memory_cgroup_of("0::/system.slice/cron.service\n"), "/system.slice/cron.service");
  EXPECT_EQ(memory_cgroup_of("4:memory:/gone (deleted)\n"), "/gone");
  EXPECT_EQ(memory_cgroup_of("1:name=systemd:/a\nnonsense\n"), "");
}

TEST(TaskNames, TellsAnExitingThreadFromTheIdleTask) {
  host::FakeTree tree;
  TaskNames names(tree.files());
  trace_task exiting{};
  exiting.flags = TRACE_TASK_EXITING;
  names.describe(exiting, 1);
  EXPECT_EQ(std::string_view(exiting.comm), evidence::Occupant::exiting_comm);
  EXPECT_STREQ(described(names, 0).comm, "swapper/1");
}

TEST(TaskNames, ReadsNameCgroupAndKind) {
  host::FakeTree tree;
  tree.add("/proc/41/stat", "41 (a ) odd (name) R 1 41 41 0 -1 4194304 0\n");
  tree.add("/proc/41/cgroup", "4:memory:/pods/one\n");
  tree.add("/proc/15/stat", "15 (ksoftirqd/0) S 2 0 0 0 -1 69238848 0\n");
  tree.add("/proc/15/cgroup", "0::/\n");
  TaskNames names(tree.files());

  const trace_task user = described(names, 41);
  EXPECT_STREQ(user.comm, "a ) odd (name");
  EXPECT_EQ(user.flags, 0U);
  EXPECT_EQ(cgroup_names(user), std::string("one\0pods\0", 9)) << "innermost first";

  const trace_task thread = described(names, 15);
  EXPECT_EQ(thread.flags, TRACE_TASK_KERNEL_THREAD);
  EXPECT_EQ(cgroup_names(thread), "");
}

TEST(TaskNames, KeepsTheNewNameOfATaskThatHasEnded) {
  host::FakeTree tree;
  TaskNames names(tree.files());
  names.renamed(50, "cat");
  const trace_task ended = described(names, 50);
  EXPECT_STREQ(ended.comm, "cat");
  EXPECT_NE(ended.flags & TRACE_TASK_CGROUP_UNKNOWN, 0U);
  EXPECT_STREQ(described(names, 51).comm, "") << "nobody knows";
}

TEST(TaskNames, KnowsTheIdleTask) {
  host::FakeTree tree;
  TaskNames names(tree.files());
  const trace_task idle = described(names, 0);
  EXPECT_STREQ(idle.comm, "swapper/1");
  EXPECT_EQ(idle.flags, TRACE_TASK_KERNEL_THREAD);
}

TEST(TaskNames, ReadsAThreadAgainOnceTheyAreForgotten) {
  host::FakeTree tree;
  tree.add("/proc/60/stat", "60 (first) S 1 1 1 0 -1 0 0\n");
  TaskNames names(tree.files());
  EXPECT_STREQ(described(names, 60).comm, "first");
  tree.add("/proc/60/stat", "60 (second) S 1 1 1 0 -1 0 0\n");
  EXPECT_STREQ(described(names, 60).comm, "first") << "one reading for all samples of a drain";
  names.forget_read();
  EXPECT_STREQ(described(names, 60).comm, "second");
}

TEST(TaskNames, CutsAPathThatDoesNotFit) {
  host::FakeTree tree;
  std::string path;
  for (int depth = 0; depth < 100; ++depth) {
    path += "/" + std::string(40, 'x');
  }
  tree.add("/proc/70/stat", "70 (deep) S 1 1 1 0 -1 0 0\n");
  tree.add("/proc/70/cgroup", "0::" + path + "/" + std::string(300, 'y') + "\n");
  TaskNames names(tree.files());
  const trace_task task = described(names, 70);
  EXPECT_LE(task.cgroup_bytes, TRACE_PATH_BYTES);
  EXPECT_TRUE(cgroup_names(task).starts_with(std::string(TRACE_NAME_BYTES - 1, 'y') + '\0'));
}

}  // namespace
}  // namespace stallscope::trace::perf
