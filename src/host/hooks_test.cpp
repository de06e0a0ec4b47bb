// SPDX-License-Identifier: Apache-2.0
#include "host/hooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "host/fake_btf.h"
#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

using ::testing::HasSubstr;

HookState state_of(const FakeTree& tree, HookId id) {
  return probe_hooks(tree.files()).at(static_cast<std::size_t>(id));
}

TEST(HookTable, IsCompleteAndReadable) {
  std::set<std::string_view> names;
  for (const Hook& each : all_hooks()) {
    EXPECT_TRUE(names.insert(each.name).second) << each.name;
    EXPECT_FALSE(each.purpose.empty() || each.purpose.ends_with('.')) << each.name;
    EXPECT_TRUE(each.cost.ends_with('.')) << each.name;
    EXPECT_FALSE(each.since.empty()) << each.name;
    EXPECT_EQ(hook(each.id).name, each.name);
  }
}

TEST(ProbeHooks, AsksTheTypeInformation) {
  FakeTree tree;
  tree.add(btf_file, FakeBtf()
                         .add_tracepoint("softirq_raise")
                         .add_enumerator("bpf_map_type", "BPF_MAP_TYPE_RINGBUF")
                         .add_enumerator("bpf_func_id", "BPF_FUNC_loop")
                         .bytes());
  EXPECT_EQ(state_of(tree, HookId::kernel_btf).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::softirq_raise).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::ring_buffer).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::bpf_loop).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::softirq_exit).presence, Presence::absent);
  EXPECT_EQ(state_of(tree, HookId::syscall_program).presence, Presence::absent);
  const HookState rstat = state_of(tree, HookId::cgroup_rstat_locked);
  EXPECT_EQ(rstat.presence, Presence::absent);
  EXPECT_THAT(rstat.reason, HasSubstr("6.10"));
}

TEST(ProbeHooks, WithoutTypeInformationMostIsUnknownNotAbsent) {
  const FakeTree tree;
  EXPECT_EQ(state_of(tree, HookId::kernel_btf).presence, Presence::absent);
  for (const HookId id : {HookId::softirq_raise, HookId::ring_buffer, HookId::bpf_loop, HookId::fentry}) {
    const HookState state = state_of(tree, id);
    EXPECT_EQ(state.presence, Presence::unknown) << hook(id).name;
    EXPECT_NE(state.reason, "") << hook(id).name;
  }
}

TEST(ProbeHooks, TracefsAnswersWhereTypeInformationIsMissing) {
  FakeTree tree;
  tree.add("/sys/kernel/tracing/events/irq/softirq_raise/id", "1\n");
  EXPECT_EQ(state_of(tree, HookId::tracefs).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::softirq_raise).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::softirq_entry).presence, Presence::absent);
}

TEST(ProbeHooks, LooksForEventSources) {
  FakeTree tree;
  EXPECT_EQ(state_of(tree, HookId::cpu_clock).presence, Presence::absent);
  EXPECT_EQ(state_of(tree, HookId::hardware_pmu).presence, Presence::absent);
  EXPECT_EQ(state_of(tree, HookId::kprobes).presence, Presence::absent);
  tree.add("/sys/bus/event_source/devices/software/type", "1\n")
      .add("/sys/bus/event_source/devices/cpu_core/type", "4\n")
      .add("/sys/bus/event_source/devices/kprobe/type", "6\n");
  EXPECT_EQ(state_of(tree, HookId::cpu_clock).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::hardware_pmu).presence, Presence::present);
  EXPECT_EQ(state_of(tree, HookId::kprobes).presence, Presence::present);
}

TEST(ProbeHooks, OnlyAbsentAndUnknownHaveAReason) {
  FakeTree tree;
  tree.add(btf_file, FakeBtf().add_tracepoint("softirq_raise").bytes());
  for (const HookState& state : probe_hooks(tree.files())) {
    EXPECT_EQ(state.reason.empty(), state.presence == Presence::present) << hook(state.id).name;
  }
}

}  // namespace
}  // namespace stallscope::host
