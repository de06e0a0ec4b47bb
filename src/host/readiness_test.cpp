// SPDX-License-Identifier: Apache-2.0
#include "host/readiness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A machine that has everything.
HostFacts complete() {
  HostFacts facts;
  facts.kernel.architecture = "x86_64";
  facts.capabilities.effective = ~std::uint64_t{0};
  facts.memory_cgroups = {2, "/sys/fs/cgroup", "", true};
  facts.symbols.presence = Presence::present;
  for (const Hook& each : all_hooks()) {
    facts.hooks.push_back({each.id, Presence::present, ""});
  }
  return facts;
}

void lose(HostFacts& facts, HookId id, Presence presence) {
  facts.hooks.at(static_cast<std::size_t>(id)) = {id, presence, "for the test"};
}

const Check& check_of(const Readiness& readiness, std::string_view name) {
  const auto found =
      std::find_if(readiness.checks.begin(), readiness.checks.end(), [&](const Check& check) { return check.name == name; });
  EXPECT_NE(found, readiness.checks.end()) << name;
  return *found;
}

TEST(Assess, AMachineThatHasEverythingIsReady) {
  const Readiness readiness = assess(complete());
  EXPECT_EQ(readiness.verdict, Verdict::ready);
  EXPECT_THAT(readiness.advice, IsEmpty());
  for (const Check& check : readiness.checks) {
    EXPECT_EQ(check.presence, Presence::present) << check.name;
    EXPECT_EQ(check.cost, "") << check.name;
  }
}

TEST(Assess, AMissingExtraChangesNothing) {
  HostFacts facts = complete();
  lose(facts, HookId::fentry, Presence::absent);
  lose(facts, HookId::cgroup_rstat_locked, Presence::unknown);
  const Readiness readiness = assess(facts);
  EXPECT_EQ(readiness.verdict, Verdict::ready);
  EXPECT_NE(check_of(readiness, "fentry").cost, "");
}

TEST(Assess, AMissingWantedHookMakesItPartial) {
  for (const Presence presence : {Presence::absent, Presence::unknown}) {
    HostFacts facts = complete();
    lose(facts, HookId::softirq_exit, presence);
    EXPECT_EQ(assess(facts).verdict, Verdict::partial);
  }
}

TEST(Assess, SaysWhatDiagnoseWouldWatchWith) {
  EXPECT_THAT(check_of(assess(complete()), "tracer").purpose, HasSubstr("BPF"));
  for (const HookId needed_by_bpf : {HookId::kernel_btf, HookId::ring_buffer}) {
    HostFacts facts = complete();
    lose(facts, needed_by_bpf, Presence::absent);
    const Readiness readiness = assess(facts);
    EXPECT_EQ(readiness.verdict, Verdict::partial);
    EXPECT_EQ(check_of(readiness, "tracer").presence, Presence::present);
    EXPECT_THAT(check_of(readiness, "tracer").purpose, HasSubstr("perf events"));
    EXPECT_THAT(check_of(readiness, hook(needed_by_bpf).name).cost, HasSubstr("perf events"));
    EXPECT_TRUE(std::none_of(readiness.checks.begin(), readiness.checks.end(), [](const Check& check) {
      return check.name == hook(HookId::hrtimer_expire_entry).name;
    })) << "perf events do not need it";
  }
}

TEST(Assess, WithoutBtfAndPerfEventsNothingCanBeTraced) {
  HostFacts facts = complete();
  lose(facts, HookId::kernel_btf, Presence::absent);
  lose(facts, HookId::cpu_clock, Presence::absent);
  const Readiness readiness = assess(facts);
  EXPECT_EQ(readiness.verdict, Verdict::unable);
  EXPECT_EQ(check_of(readiness, "tracer").presence, Presence::absent);
  EXPECT_THAT(readiness.advice, Contains(HasSubstr("CONFIG_DEBUG_INFO_BTF")));
}

TEST(Assess, AnUnprivilegedUserIsToldOnceToBecomeRoot) {
  HostFacts facts = complete();
  facts.capabilities.effective = 0;
  facts.symbols = {Presence::absent, "hidden"};
  const Readiness readiness = assess(facts);
  EXPECT_EQ(readiness.verdict, Verdict::unable);
  EXPECT_EQ(check_of(readiness, "privilege to trace").presence, Presence::absent);
  EXPECT_EQ(check_of(readiness, "privilege to probe").presence, Presence::absent);
  EXPECT_EQ(std::count_if(readiness.advice.begin(), readiness.advice.end(),
                          [](const std::string& advice) { return advice.starts_with("run as root"); }),
            1);
}

TEST(Assess, HiddenAddressesNeedTheRightRemedy) {
  HostFacts facts = complete();
  facts.symbols = {Presence::absent, "hidden"};
  facts.capabilities.kptr_restrict = 2;
  EXPECT_THAT(assess(facts).advice, Contains(HasSubstr("kptr_restrict=1")));
  facts.capabilities.kptr_restrict = 1;
  EXPECT_THAT(assess(facts).advice, Contains(HasSubstr("run as root")));
}

TEST(Assess, TracefsIsAdvisedOnlyWhereItHelps) {
  HostFacts facts = complete();
  lose(facts, HookId::tracefs, Presence::absent);
  EXPECT_THAT(assess(facts).advice, Not(Contains(HasSubstr("tracefs"))));
  lose(facts, HookId::kernel_btf, Presence::absent);
  EXPECT_THAT(assess(facts).advice, Contains(HasSubstr("mount -t tracefs")));
}

TEST(Assess, OtherArchitecturesAreNamed) {
  HostFacts facts = complete();
  facts.kernel.architecture = "aarch64";
  const Readiness readiness = assess(facts);
  EXPECT_EQ(readiness.verdict, Verdict::partial);
  EXPECT_THAT(check_of(readiness, "system call decoding").reason, HasSubstr("aarch64"));
}

TEST(GatherFacts, AnEmptyMachineIsDescribedWithoutFailing) {
  const FakeTree tree;
  const Readiness readiness = assess(gather_facts(tree.files()));
  EXPECT_EQ(readiness.verdict, Verdict::unable);
  for (const Check& check : readiness.checks) {
    if (check.presence != Presence::present) {
      EXPECT_NE(check.reason, "") << check.name;
      EXPECT_NE(check.cost, "") << check.name;
    }
  }
}

}  // namespace
}  // namespace stallscope::host
