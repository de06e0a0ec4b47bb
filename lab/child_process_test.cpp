// SPDX-License-Identifier: Apache-2.0
#include "lab/child_process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/process_lock.h"
#include "lab/stop_signals.h"
#include "lab/topology.h"

namespace stallscope::lab {
namespace {

using base::Result;

TEST(ChildProcess, PassesLinesAndThenEnds) {
  Result<ChildProcess> child = ChildProcess::start("lab-test", [](const ReportPipe& reports) {
    const base::Status first = reports.send("one");
    return first ? reports.send("two") : first;
  });
  ASSERT_TRUE(child);
  std::string line;
  ASSERT_EQ(child->next_line(line, -1), ChildProcess::Event::line);
  EXPECT_EQ(line, "one");
  ASSERT_EQ(child->next_line(line, -1), ChildProcess::Event::line);
  EXPECT_EQ(line, "two");
  EXPECT_EQ(child->next_line(line, -1), ChildProcess::Event::ended);
  EXPECT_TRUE(child->finish());
}

TEST(ChildProcess, ItsErrorReachesTheParent) {
  Result<ChildProcess> child = ChildProcess::start("lab-test", [](const ReportPipe&) -> base::Status {
    return base::Error{"make cgroup", "/a \"b\"\n", "no space", "use fewer"};
  });
  ASSERT_TRUE(child);
  const base::Status finished = child->finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().object, "/a \"b\"\n");
  EXPECT_EQ(finished.error().hint, "use fewer");
}

TEST(ChildProcess, IsGoneWithItsOwner) {
  pid_t pid = 0;
  {
    Result<ChildProcess> child = ChildProcess::start("lab-test", [](const ReportPipe&) {
      ::pause();
      return base::ok();
    });
    ASSERT_TRUE(child);
    pid = child->pid();
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcess, BeingKilledIsAnError) {
  Result<ChildProcess> child = ChildProcess::start("lab-test", [](const ReportPipe&) {
    ::raise(SIGKILL);
    return base::ok();
  });
  ASSERT_TRUE(child);
  EXPECT_EQ(child->finish().error().reason, "it was killed by signal 9");
}

TEST(StopSignals, InsideOfOthersPassOnWhatTheyWereAskedFor) {
  Result<StopSignals> outer = StopSignals::block();
  ASSERT_TRUE(outer);
  {
    Result<StopSignals> inner = StopSignals::block();
    ASSERT_TRUE(inner);
    ASSERT_EQ(::raise(SIGTERM), 0);
    EXPECT_TRUE(inner->requested());
  }
  EXPECT_TRUE(outer->requested());
  {
    Result<StopSignals> inner = StopSignals::block();
    ASSERT_TRUE(inner);
    // Nobody asked the inner one whether there was something.
    ASSERT_EQ(::raise(SIGINT), 0);
  }
  pollfd again{outer->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&again, 1, 0), 1);
}

TEST(StopSignals, WakeWaitsInsteadOfKilling) {
  {
    Result<StopSignals> stop = StopSignals::block();
    ASSERT_TRUE(stop);
    EXPECT_FALSE(stop->requested());
    EXPECT_FALSE(stop->wait_until(0));
    ::raise(SIGTERM);
    EXPECT_TRUE(stop->wait_until(ChildProcess::no_deadline));
    EXPECT_TRUE(stop->requested());
    ::raise(SIGINT);
  }
  // The signals were discarded with the owner: this process is still here.
  sigset_t blocked;
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &blocked), 0);
  EXPECT_EQ(sigismember(&blocked, SIGTERM), 0);
}

TEST(ProcessLock, NamesItsHolderAndLeavesNoFile) {
  const std::string path = testing::TempDir() + "stallscope-lock-test";
  {
    const Result<base::ProcessLock> lock = base::ProcessLock::take(path, "lab");
    ASSERT_TRUE(lock) << lock.error().message();
    // Another process, because a record lock does not stop its own.
    Result<ChildProcess> other = ChildProcess::start("lab-test", [&](const ReportPipe&) -> base::Status {
      const Result<base::ProcessLock> second = base::ProcessLock::take(path, "lab");
      return second ? base::ok() : base::Status(second.error());
    });
    ASSERT_TRUE(other);
    const base::Status refused = other->finish();
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().reason.find(std::to_string(::getpid())), std::string::npos) << refused.error().reason;
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(CpuMask, HasOneBitInWordsOf32) {
  EXPECT_EQ(cpu_mask(0), "1");
  EXPECT_EQ(cpu_mask(5), "20");
  EXPECT_EQ(cpu_mask(31), "80000000");
  EXPECT_EQ(cpu_mask(32), "1,00000000");
  EXPECT_EQ(cpu_mask(70), "40,00000000,00000000");
}

}  // namespace
}  // namespace stallscope::lab
