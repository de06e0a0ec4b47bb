// SPDX-License-Identifier: Apache-2.0
#include "trace/stack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <string>
#include <vector>

#include "trace/test_sink.h"

namespace stallscope::trace {
namespace {

using testing::ElementsAre;

TEST(Stack, NamesTheSystemCallOfAnyKernel) {
  const auto of = [](const std::vector<std::string>& frames) { return system_call_of(frames); };
  EXPECT_EQ(of({"vfs_read", "ksys_read", "do_syscall_64"}), SYS_read);
  EXPECT_EQ(of({"do_epoll_wait", "__x64_sys_epoll_wait", "x64_sys_call", "do_syscall_64"}), SYS_epoll_wait);
  EXPECT_EQ(of({"vfs_read", "SyS_read", "system_call_fastpath"}), SYS_read) << "before 4.17";
  EXPECT_EQ(of({"vfs_fstat", "__do_sys_newfstat", "do_syscall_64"}), SYS_fstat) << "named otherwise than the call";
  EXPECT_EQ(of({"sys_close", "__x64_sys_execve", "do_syscall_64"}), SYS_execve) << "the outermost";
  EXPECT_EQ(of({"schedule", "do_syscall_64"}), std::nullopt);
  EXPECT_EQ(of({"__x64_sys_no_such_call", "do_syscall_64"}), std::nullopt);
  EXPECT_EQ(of({}), std::nullopt);
}

TEST(Stack, CutsOffInterruptsAsKernelsBefore58EnteredThem) {
  FakeKernel kernel;
  std::vector<std::uint64_t> addresses;
  for (const char* function : {"__do_softirq", "irq_exit", "do_IRQ", "ret_from_intr", "memcg_stat_show", "ksys_read"}) {
    addresses.push_back(kernel.at(function));
  }
  const KernelStack stack = interrupted_stack(addresses, kernel.lookup());
  EXPECT_TRUE(stack.interrupted);
  EXPECT_THAT(stack.frames, ElementsAre("memcg_stat_show", "ksys_read"));
}

}  // namespace
}  // namespace stallscope::trace
