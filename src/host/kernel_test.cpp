// SPDX-License-Identifier: Apache-2.0
#include "host/kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ParseRelease, ReadsWhatDistributionsCallTheirKernels) {
  EXPECT_EQ(parse_release("6.1.0-18-amd64"), (KernelVersion{6, 1, 0}));
  EXPECT_EQ(parse_release("4.18.0-513.el8.x86_64"), (KernelVersion{4, 18, 0}));
  EXPECT_EQ(parse_release("6.18-rc3"), (KernelVersion{6, 18, 0}));
  EXPECT_EQ(parse_release("5.15.167.4-microsoft-standard-WSL2"), (KernelVersion{5, 15, 167}));
  EXPECT_LT(*parse_release("5.8.0"), *parse_release("5.14.2"));
  for (const char* nonsense : {"", "linux", "6", "6.", "-6.1", "6.x"}) {
    EXPECT_EQ(parse_release(nonsense), std::nullopt) << nonsense;
  }
}

TEST(ParseCpuList, ReadsRangesWithHoles) {
  EXPECT_THAT(parse_cpu_list("0-3,8\n"), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(parse_cpu_list("5"), ElementsAre(5));
}

TEST(ParseCpuList, IsEmptyForAnythingElse) {
  for (const char* nonsense : {"", "\n", "a", "3-1", "0-", "-1", "0,,1", "0 1", "0-4294967295", "1;2"}) {
    EXPECT_THAT(parse_cpu_list(nonsense), IsEmpty()) << nonsense;
  }
}

TEST(FindPreemption, TrustsWhatIsSetNowBeforeWhatWasBuilt) {
  constexpr std::string_view dynamic = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.0-1";
  constexpr std::string_view built_full = "CONFIG_PREEMPT_NONE_BUILD=y\nCONFIG_PREEMPT=y\n";
  EXPECT_EQ(find_preemption("none voluntary (full) lazy \n", dynamic, "preempt=none", ""), Preemption::full);
  EXPECT_EQ(find_preemption("", dynamic, "quiet preempt=voluntary ro", built_full), Preemption::voluntary);
  EXPECT_EQ(find_preemption("", dynamic, "quiet", built_full), Preemption::full);
  EXPECT_EQ(find_preemption("", "#1 SMP PREEMPT_RT", "", ""), Preemption::real_time);
  EXPECT_EQ(find_preemption("", "#1 SMP PREEMPT Mon", "", ""), Preemption::full);
}

TEST(FindPreemption, IgnoresTheBootParameterWhereTheKernelDoes) {
  EXPECT_EQ(find_preemption("", "#1 SMP", "preempt=full", "# CONFIG_PREEMPT is not set\nCONFIG_PREEMPT_VOLUNTARY=y\n"),
            Preemption::voluntary);
}

TEST(FindPreemption, IsUnknownWithoutASource) {
  EXPECT_EQ(find_preemption("", "#1 SMP PREEMPT_DYNAMIC", "", ""), Preemption::unknown);
  EXPECT_EQ(find_preemption("garbage", "", "", "CONFIG_PREEMPT_NONE=n"), Preemption::unknown);
  EXPECT_EQ(find_preemption("", "#1 PREEMPT_DYNAMIC", "preempt=sideways", "CONFIG_PREEMPT_NONE=y"), Preemption::unknown);
}

TEST(ReadKernel, TakesEveryFactFromTheTree) {
  FakeTree tree;
  tree.add("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
      .add("/proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1\n")
      .add("/proc/sys/kernel/hostname", "node-7\n")
      .add("/proc/sys/kernel/arch", "x86_64\n")
      .add("/proc/sys/kernel/random/boot_id", "5424604b-720a-4eba-9026-5c7be81c0d4e\n")
      .add("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n")
      .add("/sys/devices/system/cpu/possible", "0-7\n")
      .add("/sys/devices/system/cpu/online", "0-3\n")
      .add("/boot/config-6.1.0-18-amd64", "CONFIG_HZ_250=y\nCONFIG_HZ=250\nCONFIG_PREEMPT_VOLUNTARY=y\n");
  const Kernel kernel = read_kernel(tree.files());
  EXPECT_EQ(kernel.release, "6.1.0-18-amd64");
  EXPECT_EQ(kernel.version, (KernelVersion{6, 1, 0}));
  EXPECT_EQ(kernel.hostname, "node-7");
  EXPECT_EQ(kernel.boot_id, "5424604b-720a-4eba-9026-5c7be81c0d4e");
  EXPECT_EQ(kernel.possible_cpus.size(), 8U);
  EXPECT_THAT(kernel.online_cpus, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(kernel.timer_hz, 250);
  EXPECT_EQ(kernel.preemption, Preemption::voluntary);
  EXPECT_EQ(kernel.virtualised, true);
  EXPECT_TRUE(kernel.decodes_system_calls());
}

TEST(ReadKernel, ReadsACompressedConfiguration) {
  FakeTree tree;
  tree.add("/proc/config.gz", "");
  gzFile file = gzopen((tree.root() + "/proc/config.gz").c_str(), "wb");
  ASSERT_NE(file, nullptr);
  gzputs(file, "CONFIG_HZ=1000\n");
  gzclose(file);
  EXPECT_EQ(read_kernel(tree.files()).timer_hz, 1000);
}

TEST(ReadKernel, LeavesOutWhatItCannotRead) {
  const FakeTree tree;
  const Kernel kernel = read_kernel(tree.files());
  EXPECT_EQ(kernel.version, std::nullopt);
  EXPECT_EQ(kernel.timer_hz, std::nullopt);
  EXPECT_EQ(kernel.virtualised, std::nullopt);
  EXPECT_EQ(kernel.architecture, "");
  EXPECT_FALSE(kernel.decodes_system_calls());
  EXPECT_THAT(kernel.online_cpus, IsEmpty());
}

}  // namespace
}  // namespace stallscope::host
