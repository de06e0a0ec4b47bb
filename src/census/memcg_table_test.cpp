// SPDX-License-Identifier: Apache-2.0
#include "census/memcg_table.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace stallscope::census {
namespace {

constexpr std::int64_t page = 4096;

memcg_row row(std::uint64_t css, std::uint64_t parent, std::string_view name, bool live) {
  memcg_row one{};
  one.css = css;
  one.parent_css = parent;
  one.id = css * 10;
  one.serial = css;
  one.references = live ? -1 : 1;
  one.memcg_id = live ? static_cast<std::uint32_t>(css) : 0;
  one.flags = live ? static_cast<std::uint32_t>(memcg_row_online) : 0;
  one.memory_pages = live ? 0 : 2;
  std::memcpy(&one.name[0], name.data(), name.size());
  one.name_length = static_cast<std::uint32_t>(name.size());
  return one;
}

memcg_row pinned_by(memcg_row one, std::uint64_t inode) {
  one.inode_address = inode + 0x1000;
  one.inode = inode;
  one.device = 26;
  return one;
}

const std::string pod = "pod5e1d8f2a-31c4-4b7e-9a55-0d6c7e8f9a01";

/// root, kubepods, a pod with a dying container and its dying child, and one dying below the root.
MemcgTable tree() {
  MemcgTableBuilder builder(page);
  builder.add(std::array{row(1, 0, "", true), row(2, 1, "kubepods", true), row(3, 2, pod, true),
                         pinned_by(row(4, 3, "gone", false), 7), pinned_by(row(5, 4, "child", false), 7)});
  builder.add(std::array{row(6, 1, "other", false)});
  return builder.finish();
}

TEST(MemcgTable, PutsFormerPathsTogetherAcrossSections) {
  const MemcgTable table = tree();
  EXPECT_EQ(table.path_of(0), "/");
  EXPECT_EQ(table.path_of(4), "/kubepods/" + pod + "/gone/child");
  EXPECT_EQ(table.path_of(5), "/other");
  EXPECT_EQ(table.ids_in_use, 3);
}

TEST(MemcgTable, CountsWhatFilesPin) {
  MemcgTable table = tree();
  ASSERT_EQ(table.files.size(), 1U);
  EXPECT_EQ(table.files[0].memcg_count, 2);
  EXPECT_EQ(table.memcgs[3].pin, MemcgPin::file);
  EXPECT_EQ(table.memcgs[5].pin, MemcgPin::unknown);
  table.files[0].filesystem = "tmpfs";
  settle_pins(table);
  EXPECT_EQ(table.memcgs[3].pin, MemcgPin::shmem);
}

TEST(MemcgTable, GroupsByTheLiveCgroupAboveAndByPod) {
  const MemcgTable table = tree();
  const std::vector<MemcgGroup> parents = dying_by_parent(table);
  ASSERT_EQ(parents.size(), 2U);
  EXPECT_EQ(parents[0].name, "/kubepods/" + pod);
  EXPECT_EQ(parents[0].memcg_count, 2);
  EXPECT_EQ(parents[0].charged_bytes, 2 * page) << "a child's charge is in its parent's";
  const std::vector<MemcgGroup> owners = dying_by_owner(table);
  EXPECT_EQ(owners[0].name, "pod 5e1d8f2a-31c4-4b7e-9a55-0d6c7e8f9a01");
  EXPECT_EQ(owners[1].name, "no unit or pod");
  EXPECT_EQ(total_charges(table, false).memory_bytes, 4 * page);
}

TEST(MemcgTable, FindsEveryPin) {
  memcg_row one = pinned_by(row(2, 1, "z", false), 3);
  one.flags |= memcg_row_has_child | memcg_row_has_writeback | memcg_row_has_anonymous | memcg_row_v2;
  one.swap_pages = 1;
  one.tcp_pages = 1;
  MemcgTableBuilder builder(page);
  builder.add(std::array{row(1, 0, "", true), one});
  const MemcgTable table = builder.finish();
  std::uint32_t expected = 0;
  for (const MemcgPin pin :
       {MemcgPin::file, MemcgPin::swap, MemcgPin::socket, MemcgPin::child, MemcgPin::dirty_inode, MemcgPin::anonymous}) {
    expected |= 1U << static_cast<unsigned>(pin);
  }
  EXPECT_EQ(table.memcgs[1].pins, expected);
}

TEST(MemcgTable, APageInTheSwapCacheIsSwaps) {
  const auto pin = [](std::uint32_t flags, std::int64_t pages) {
    memcg_row one = row(2, 1, "z", false);
    one.flags |= flags;
    one.lru_anonymous_pages = pages;
    MemcgTableBuilder builder(page);
    builder.add(std::array{row(1, 0, "", true), one});
    return builder.finish().memcgs[1].pin;
  };
  EXPECT_EQ(pin(memcg_row_has_page, 1), MemcgPin::swap);
  EXPECT_EQ(pin(memcg_row_has_page | memcg_row_has_anonymous, 1), MemcgPin::anonymous);
  EXPECT_EQ(pin(memcg_row_has_page, 0), MemcgPin::unknown) << "a page of a file that was just removed";
  EXPECT_EQ(pin(0, 1), MemcgPin::unknown) << "not looked at";
}

TEST(MemcgTable, SwapOnV1IsWhatIsBeyondMemory) {
  memcg_row one = row(1, 0, "", true);
  one.memory_pages = 5;
  one.swap_pages = 8;
  MemcgTableBuilder builder(page);
  builder.add(std::array{one});
  EXPECT_EQ(builder.finish().memcgs[0].charges.swap_bytes, 3 * page);
}

TEST(MemcgTable, ForgetsKindsThatDoNotAgreeWithTheLruLists) {
  memcg_row one = row(1, 0, "", true);
  one.flags |= memcg_row_has_kinds;
  one.lru_file_pages = 100'000;
  one.file_pages = 99'000;
  MemcgTableBuilder builder(page);
  builder.add(std::array{one});
  EXPECT_EQ(builder.finish().memcgs[0].charges.file_bytes, 99'000 * page);
  builder.clear();
  one.file_pages = 12;
  builder.add(std::array{one});
  const MemcgTable table = builder.finish();
  EXPECT_FALSE(table.kinds_known);
  EXPECT_EQ(table.memcgs[0].charges.file_bytes, -1);
  EXPECT_EQ(table.memcgs[0].charges.lru_file_bytes, 100'000 * page);
}

TEST(BoundAges, ByTheOldestDirectoryMadeLater) {
  MemcgTable table = tree();
  bound_ages(table, std::array{DirectoryAge{10, 900}, DirectoryAge{20, 500}, DirectoryAge{30, 600}});
  EXPECT_EQ(table.memcgs[0].age_at_least_ns, 900);
  EXPECT_EQ(table.memcgs[1].age_at_least_ns, 600) << "its own directory is young, that of a later one is not";
  EXPECT_EQ(table.memcgs[3].age_at_least_ns, -1) << "nothing live was made after it";
}

}  // namespace
}  // namespace stallscope::census
