// SPDX-License-Identifier: Apache-2.0
#include "host/btf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/fake_btf.h"
#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

TEST(Btf, AnswersWhatTheKernelHas) {
  FakeTree tree;
  tree.add(btf_file, FakeBtf()
                         .add_tracepoint("softirq_raise")
                         .add_function("bpf_iter_css_new")
                         .add_enumerator("bpf_map_type", "BPF_MAP_TYPE_RINGBUF")
                         .add_struct("mem_cgroup", "css", "swap")
                         .bytes());
  const base::Result<Btf> btf = Btf::load(tree.files());
  ASSERT_TRUE(btf) << btf.error().message();
  EXPECT_TRUE(btf->has_tracepoint("softirq_raise"));
  EXPECT_FALSE(btf->has_tracepoint("softirq"));
  EXPECT_TRUE(btf->has_function("bpf_iter_css_new"));
  EXPECT_FALSE(btf->has_function("softirq_raise"));
  EXPECT_TRUE(btf->has_enumerator("bpf_map_type", "BPF_MAP_TYPE_RINGBUF"));
  EXPECT_FALSE(btf->has_enumerator("bpf_map_type", "BPF_MAP_TYPE_HASH"));
  EXPECT_FALSE(btf->has_enumerator("bpf_prog_type", "BPF_MAP_TYPE_RINGBUF"));
  EXPECT_TRUE(btf->has_type("mem_cgroup"));
  EXPECT_FALSE(btf->has_type("int"));
  EXPECT_TRUE(btf->has_member("mem_cgroup", "css"));
  EXPECT_TRUE(btf->has_member("mem_cgroup", "swap")) << "in an anonymous union";
  EXPECT_FALSE(btf->has_member("mem_cgroup", "memsw"));
  EXPECT_FALSE(btf->has_member("cgroup", "css"));
}

TEST(Btf, KnowsWherePerCpuVariablesAndMembersLie) {
  FakeTree tree;
  tree.add(btf_file, FakeBtf()
                         .add_struct("pcpu_hot", "current_task", "preempt_count")
                         .add_per_cpu({{"runqueues", 4096}, {"pcpu_hot", 64}})
                         .bytes());
  const base::Result<Btf> btf = Btf::load(tree.files());
  ASSERT_TRUE(btf) << btf.error().message();
  EXPECT_EQ(btf->per_cpu_offset("runqueues"), 4096);
  EXPECT_EQ(btf->per_cpu_offset("pcpu_hot"), 64);
  EXPECT_EQ(btf->per_cpu_offset("__preempt_count"), std::nullopt);
  EXPECT_EQ(btf->member_offset("pcpu_hot", "preempt_count"), 4) << "in an anonymous union at 4";
  EXPECT_EQ(btf->member_offset("pcpu_hot", "cpu_number"), std::nullopt);
}

TEST(Btf, AMissingOrDamagedFileIsAnErrorWithTheNextStep) {
  FakeTree tree;
  const base::Result<Btf> missing = Btf::load(tree.files());
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message(), ::testing::HasSubstr("CONFIG_DEBUG_INFO_BTF"));
  EXPECT_THAT(missing.error().message(), ::testing::HasSubstr("No such file"));
  const std::string good = FakeBtf().add_tracepoint("softirq_raise").bytes();
  for (const std::string& damaged : {std::string("not BTF"), std::string(), good.substr(0, good.size() - 5)}) {
    tree.add(btf_file, damaged);
    EXPECT_FALSE(Btf::load(tree.files()));
  }
}

}  // namespace
}  // namespace stallscope::host
