// SPDX-License-Identifier: Apache-2.0
// Against the running kernel; needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "host/btf.h"
#include "host/capabilities.h"
#include "host/counters.h"
#include "host/hooks.h"
#include "host/kernel.h"
#include "host/private_mounts.h"
#include "host/rss.h"
#include "host/symbols.h"

namespace stallscope::host {
namespace {

TEST(LiveHost, SymbolsAgreeWithTheKernelsList) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root";
  const base::Result<KernelSymbols> symbols = KernelSymbols::load();
  ASSERT_TRUE(symbols) << symbols.error().message();
  ASSERT_FALSE(symbols->addresses_hidden()) << "kernel.kptr_restrict hides addresses";
  std::ifstream list("/proc/kallsyms");
  std::string address;
  std::string type;
  std::string name;
  int resolved = 0;
  while (list >> address >> type >> name) {
    if (name == "vfs_read" || name == "net_rx_action" || name == "do_syscall_64") {
      EXPECT_EQ(symbols->function_at(std::stoull(address, nullptr, 16) + 4), name);
      ++resolved;
    }
    list.ignore(1000, '\n');
  }
  EXPECT_EQ(resolved, 3);
}

TEST(LiveHost, FactsAgreeWithTheLibraryCalls) {
  const Kernel kernel = read_kernel();
  ASSERT_TRUE(kernel.version);
  EXPECT_EQ(kernel.online_cpus.size(), static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
  EXPECT_EQ(kernel.possible_cpus.size(), static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_CONF)));
  EXPECT_EQ(kernel.boot_id.size(), 36U);
  EXPECT_EQ(read_capabilities().effective_uid, ::geteuid());
}

TEST(LiveHost, CountersCoverEveryOnlineCpu) {
  const base::Result<std::vector<CounterValue>> counters = read_counters();
  ASSERT_TRUE(counters) << counters.error().message();
  for (const std::int32_t cpu : read_kernel().online_cpus) {
    int found = 0;
    for (const CounterValue& counter : *counters) {
      found += counter.cpu == cpu ? 1 : 0;
    }
    EXPECT_EQ(found, 4) << "CPU " << cpu;
  }
}

TEST(LiveHost, EveryHookHasAnAnswer) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root";
  const base::Result<Btf> btf = Btf::load();
  ASSERT_TRUE(btf) << btf.error().message();
  EXPECT_TRUE(btf->has_member("task_struct", "comm"));
  for (const HookState& state : probe_hooks()) {
    EXPECT_NE(state.presence, Presence::unknown) << hook(state.id).name << ": " << state.reason;
  }
}

TEST(LiveHost, veth_has_rps_and_no_key) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root";
  // A thread's namespaces go with it.
  std::thread([] {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    ASSERT_EQ(std::system("ip link add left type veth peer name right"), 0);
    const base::Status set = in_private_mounts([]() -> base::Status {
      if (::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) {
        return base::errno_error("mount", "sysfs", errno);
      }
      return base::write_file("/sys/class/net/left/queues/rx-0/rps_cpus", "1");
    });
    ASSERT_TRUE(set) << set.error().message();
    const base::Result<rss::ReceiveQueues> queues = read_receive_queues("left");
    ASSERT_TRUE(queues) << queues.error().message();
    EXPECT_EQ(queues->driver, "veth");
    EXPECT_GE(queues->queue_count, 1);
    EXPECT_TRUE(queues->key.empty());
    ASSERT_FALSE(queues->queues.empty());
    EXPECT_EQ(queues->queues[0].rps_cpus, (std::vector<std::int32_t>{0}));
    EXPECT_NE(queues->netns_inode, 0U);
    ASSERT_FALSE(queues->notes.empty());
    EXPECT_THAT(queues->notes.back(), ::testing::HasSubstr("keeps secret"));
    // The devices of this namespace, not those of the process.
    EXPECT_THAT(network_devices(), ::testing::UnorderedElementsAre("lo", "left", "right"));
    EXPECT_FALSE(read_receive_queues("eth0"));
  }).join();
}

}  // namespace
}  // namespace stallscope::host
