// SPDX-License-Identifier: Apache-2.0
#include "host/capabilities.h"

#include <gtest/gtest.h>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

constexpr std::uint64_t bit(Capability capability) {
  return std::uint64_t{1} << static_cast<unsigned>(capability);
}

Capabilities with(std::uint64_t effective) {
  Capabilities capabilities;
  capabilities.effective = effective;
  return capabilities;
}

TEST(ReadCapabilities, ReadsTheProcessAndTheSettings) {
  FakeTree tree;
  tree.add("/proc/self/status", "Name:\tx\nUid:\t1000\t33\t1000\t1000\nCapPrm:\t0000000000000000\nCapEff:\t0000004000002000\n")
      .add("/proc/sys/kernel/kptr_restrict", "1\n")
      .add("/proc/sys/kernel/perf_event_paranoid", "-1\n")
      .add("/proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
      .add("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  const Capabilities capabilities = read_capabilities(tree.files());
  EXPECT_TRUE(capabilities.has(Capability::net_raw));
  EXPECT_TRUE(capabilities.has(Capability::perfmon));
  EXPECT_FALSE(capabilities.has(Capability::bpf));
  EXPECT_EQ(capabilities.effective_uid, 33U);
  EXPECT_EQ(capabilities.kptr_restrict, 1);
  EXPECT_EQ(capabilities.perf_event_paranoid, -1);
  EXPECT_EQ(capabilities.unprivileged_bpf_disabled, 2);
  EXPECT_EQ(capabilities.lockdown, Lockdown::integrity);
}

TEST(ReadCapabilities, KnowsNothingWithoutProcOrFromNonsense) {
  FakeTree tree;
  EXPECT_EQ(read_capabilities(tree.files()).effective, std::nullopt);
  tree.add("/proc/self/status", "CapEff:\tzz\nUid:\t1\n").add("/proc/sys/kernel/kptr_restrict", "many\n");
  const Capabilities capabilities = read_capabilities(tree.files());
  EXPECT_EQ(capabilities.effective, std::nullopt);
  EXPECT_EQ(capabilities.kptr_restrict, std::nullopt);
  EXPECT_FALSE(capabilities.has(Capability::sys_admin));
}

TEST(Capabilities, TracingNeedsBothNewCapabilitiesOrTheOldOne) {
  EXPECT_FALSE(with(bit(Capability::bpf)).can_trace());
  EXPECT_FALSE(with(bit(Capability::perfmon)).can_trace());
  EXPECT_TRUE(with(bit(Capability::bpf) | bit(Capability::perfmon)).can_trace());
  EXPECT_TRUE(with(bit(Capability::sys_admin)).can_trace());
  Capabilities locked = with(~std::uint64_t{0});
  locked.lockdown = Lockdown::confidentiality;
  EXPECT_FALSE(locked.can_trace());
  locked.lockdown = Lockdown::integrity;
  EXPECT_TRUE(locked.can_trace());
}

TEST(Capabilities, SamplingAllTasksDependsOnTheParanoidLevel) {
  Capabilities nobody = with(0);
  nobody.perf_event_paranoid = 0;
  EXPECT_TRUE(nobody.can_sample_cpus());
  nobody.perf_event_paranoid = 1;
  EXPECT_FALSE(nobody.can_sample_cpus());
  EXPECT_TRUE(with(bit(Capability::perfmon)).can_sample_cpus());
}

TEST(Capabilities, AddressesFollowTheKernelsOwnRule) {
  Capabilities root = with(bit(Capability::syslog));
  Capabilities nobody = with(0);
  root.kptr_restrict = nobody.kptr_restrict = 0;
  nobody.perf_event_paranoid = 1;
  EXPECT_TRUE(root.can_see_kernel_addresses());
  EXPECT_TRUE(nobody.can_see_kernel_addresses());
  nobody.perf_event_paranoid = 2;
  EXPECT_FALSE(nobody.can_see_kernel_addresses());
  root.kptr_restrict = 1;
  EXPECT_TRUE(root.can_see_kernel_addresses());
  root.kptr_restrict = 2;
  EXPECT_FALSE(root.can_see_kernel_addresses());
}

}  // namespace
}  // namespace stallscope::host
