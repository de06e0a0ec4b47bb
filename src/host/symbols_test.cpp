// SPDX-License-Identifier: Apache-2.0
#include "host/symbols.h"

#include <gtest/gtest.h>

#include "host/fake_tree.h"

namespace stallscope::host {
namespace {

constexpr std::string_view table =
    "0000000000000000 A fixed_percpu_data\n"
    "ffffffff81000000 T _stext\n"
    "ffffffff81000000 T _text\n"
    "ffffffff81001000 T ksys_read\n"
    "ffffffff81001080 t __pfx_memcg_stat_format.isra.0\n"
    "ffffffff81001090 t memcg_stat_format.isra.0\n"
    "ffffffff81001200 t seq_read_iter.constprop.0.cold\n"
    "ffffffff81001300 W weak_function\n"
    "ffffffff81001400 T _etext\n"
    "ffffffff81002000 R a_variable\n"
    "ffffffff81003000 T _sinittext\n"
    "ffffffff81003100 t start_kernel\n"
    "ffffffff81003200 T _einittext\n"
    "ffffffffc0401000 t nf_nat_ftp\t[nf_nat_ftp]\n"
    "ffffffffc0400000 t veth_poll\t[veth]\n"
    "ffffffffc0400100 d veth_data\t[veth]\n"
    "ffffffffc0500000 t bpf_prog_6deef7357e7b4530_on.raise\t[bpf]\n";

class Symbols : public ::testing::Test {
 protected:
  KernelSymbols symbols = KernelSymbols::parse(table);
};

TEST_F(Symbols, NamesAnAddressInsideAFunction) {
  EXPECT_EQ(symbols.function_at(0xffffffff81001000), "ksys_read");
  EXPECT_EQ(symbols.function_at(0xffffffff8100107f), "ksys_read");
  EXPECT_EQ(symbols.function_at(0xffffffff81001300), "weak_function");
}

TEST_F(Symbols, NamesLackWhatTheCompilerAdded) {
  EXPECT_EQ(symbols.function_at(0xffffffff81001100), "memcg_stat_format");
  EXPECT_EQ(symbols.function_at(0xffffffff81001210), "seq_read_iter");
}

TEST_F(Symbols, PaddingBelongsToTheFunctionBehindIt) {
  EXPECT_EQ(symbols.function_at(0xffffffff81001084), "memcg_stat_format");
}

TEST_F(Symbols, TheFirstOfSeveralNamesWins) {
  EXPECT_EQ(symbols.function_at(0xffffffff81000000), "_stext");
}

TEST_F(Symbols, NothingIsNamedOutsideOfText) {
  EXPECT_EQ(symbols.function_at(0), "");
  EXPECT_EQ(symbols.function_at(0xffffffff80ffffff), "");
  EXPECT_EQ(symbols.function_at(0xffffffff81001400), "") << "_etext is no function";
  EXPECT_EQ(symbols.function_at(0xffffffff81002004), "") << "a variable";
  EXPECT_EQ(symbols.function_at(0xffffffff81003200), "") << "behind the init text";
  EXPECT_EQ(symbols.function_at(0xffffffffffffffff), "");
}

TEST_F(Symbols, ModulesAndBpfProgramsAreMarked) {
  EXPECT_EQ(symbols.function_at(0xffffffffc0400010), "veth_poll [veth]");
  EXPECT_EQ(symbols.function_at(0xffffffffc0400100), "") << "data of a module";
  EXPECT_EQ(symbols.function_at(0xffffffffc0401000), "nf_nat_ftp [nf_nat_ftp]") << "listed out of order";
  EXPECT_EQ(symbols.function_at(0xffffffffc0500010), "bpf_prog_6deef7357e7b4530_on.raise [bpf]");
}

TEST_F(Symbols, AFunctionWithoutNeighbourDoesNotReachForEver) {
  EXPECT_NE(symbols.function_at(0xffffffffc0500000 + KernelSymbols::longest_function_bytes - 1), "");
  EXPECT_EQ(symbols.function_at(0xffffffffc0500000 + KernelSymbols::longest_function_bytes), "");
}

TEST(KernelSymbols, AFunctionWinsOverAVariableAtItsAddress) {
  const KernelSymbols symbols = KernelSymbols::parse("ffffffff81000000 d end_of_table\nffffffff81000000 T vfs_read\n");
  EXPECT_EQ(symbols.function_at(0xffffffff81000000), "vfs_read");
}

TEST(KernelSymbols, KnowsHiddenAddresses) {
  const KernelSymbols hidden = KernelSymbols::parse("0000000000000000 T _stext\n0000000000000000 t vfs_read\n");
  EXPECT_TRUE(hidden.addresses_hidden());
  EXPECT_EQ(hidden.function_at(0), "");
  EXPECT_EQ(hidden.function_count(), 0U);
  EXPECT_FALSE(KernelSymbols::parse(table).addresses_hidden());
}

TEST(KernelSymbols, LeavesOutMalformedLines) {
  const KernelSymbols symbols = KernelSymbols::parse(
      "\n\nnonsense\nffffffff81000000\nffffffff81000000 T\nffffffff81000000 T \nfffffffffffffffff T too_long\n"
      "ffffffff81000010  T x\nffffffff81000020 T ok\nffffffff81000030 T last");
  EXPECT_EQ(symbols.function_count(), 2U);
  EXPECT_EQ(symbols.function_at(0xffffffff81000021), "ok");
  EXPECT_EQ(symbols.function_at(0xffffffff81000030), "last");
  EXPECT_FALSE(KernelSymbols::parse("").addresses_hidden());
}

TEST(KernelSymbols, ReloadFindsWhatWasLoadedSince) {
  FakeTree tree;
  tree.add("/proc/kallsyms", "ffffffff81000000 T vfs_read\n");
  base::Result<KernelSymbols> symbols = KernelSymbols::load(tree.files());
  ASSERT_TRUE(symbols);
  EXPECT_EQ(symbols->function_at(0xffffffffc0000000), "");
  tree.add("/proc/kallsyms", "ffffffff81000000 T vfs_read\nffffffffc0000000 t bpf_prog_1\t[bpf]\n");
  ASSERT_TRUE(symbols->reload(tree.files()));
  EXPECT_EQ(symbols->function_at(0xffffffffc0000000), "bpf_prog_1 [bpf]");
}

TEST(KernelSymbols, AFailedReloadKeepsTheTable) {
  FakeTree tree;
  tree.add("/proc/kallsyms", "ffffffff81000000 T vfs_read\n");
  base::Result<KernelSymbols> symbols = KernelSymbols::load(tree.files());
  ASSERT_TRUE(symbols);
  const FakeTree empty;
  EXPECT_FALSE(symbols->reload(empty.files()));
  EXPECT_EQ(symbols->function_at(0xffffffff81000000), "vfs_read");
}

}  // namespace
}  // namespace stallscope::host
