// SPDX-License-Identifier: Apache-2.0
#include "cli/lab_zombies_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace stallscope::cli {
namespace {

using testing::HasSubstr;

constexpr std::int64_t zombie_mib = std::int64_t{1} << 20U;

ZombieAccount zombie_account(std::string_view stage, std::int64_t total, std::int64_t visible, std::int64_t slab_mib) {
  census::MemcgCounts memcgs;
  memcgs.total = total;
  memcgs.visible = visible;
  census::MemorySummary memory;
  memory.memory = {{"MemFree", 20'000 * zombie_mib},
                   {"Slab", slab_mib * zombie_mib},
                   {"Percpu", 3 * zombie_mib},
                   {"SwapTotal", 100},
                   {"SwapFree", 40}};
  memory.slabs = {{"dentry", 1, 1, 192, 4'096}, {"shmem_inode_cache", 1, 1, 1, 1'000},
                  {"inode_cache", 1, 1, 1, 20}, {"btrfs_inode", 1, 1, 1, 3},
                  {"mem_cgroup", 1, 1, 1, 500}, {"mem_cgroup_per_node", 1, 1, 1, 50},
                  {"lsm_inode", 1, 1, 1, 0},    {"kmalloc-4k", 1, 1, 1, 9}};
  return account_zombies(stage, memcgs, memory);
}

ZombieReport four_stages() {
  return {"tmpfs",
          "/dev/shm/pins",
          2'000,
          {zombie_account("before", 10, 10, 80), zombie_account("created", 2'012, 2'012, 140),
           zombie_account("removed", 2'012, 12, 100), zombie_account("cleaned up", 10, 10, 81)}};
}

TEST(LabZombiesOutput, CountsTheDyingWhereTheKernelDoesNot) {
  const ZombieReport report = four_stages();
  EXPECT_EQ(report.stages[2][ZombieAccount::dying_memcgs], 2'000);
  census::MemcgCounts counted;
  counted.total = 100;
  counted.visible = 90;
  counted.dying = 7;
  EXPECT_EQ(account_zombies("", counted, {})[ZombieAccount::dying_memcgs], 7);
  EXPECT_FALSE(account_zombies("", {}, {})[ZombieAccount::dying_memcgs]);
}

TEST(LabZombiesOutput, SumsTheCachesByKind) {
  const ZombieAccount account = four_stages().stages.front();
  EXPECT_EQ(account[ZombieAccount::dentry_cache], 4'096);
  EXPECT_EQ(account[ZombieAccount::inode_caches], 1'023);
  EXPECT_EQ(account[ZombieAccount::memcg_caches], 550);
  EXPECT_EQ(account[ZombieAccount::swap_used], 60);
  EXPECT_FALSE(account_zombies("", {}, {})[ZombieAccount::dentry_cache]) << "unknown is not zero";
}

TEST(LabZombiesOutput, SaysHowManyStayedAndWhatEachTakes) {
  ZombieReport report = four_stages();
  EXPECT_EQ(stayed_count(report), 2'000);
  EXPECT_EQ(kernel_bytes_per_zombie(report), 20 * zombie_mib / 2'000);
  EXPECT_THAT(zombies_text(report),
              testing::AllOf(HasSubstr("2,000 of 2,000 stayed"), HasSubstr("20,000 MiB"), HasSubstr("80.0 MiB"),
                             HasSubstr("/dev/shm/pins pins them"), HasSubstr("None is left.")));
  report.stages.pop_back();
  EXPECT_THAT(zombies_text(report), testing::Not(HasSubstr("left")));
  report.stages.pop_back();
  EXPECT_FALSE(stayed_count(report)) << "it is not known before their directories are removed";
}

TEST(LabZombiesOutput, SaysWhereThePinKeepsNone) {
  ZombieReport report = four_stages();
  report.pin = "dentries";
  report.stages[2] = zombie_account("removed", 12, 12, 90);
  EXPECT_EQ(stayed_count(report), 0);
  EXPECT_FALSE(kernel_bytes_per_zombie(report));
  EXPECT_THAT(zombies_text(report), HasSubstr("dentries pin none"));
}

TEST(LabZombiesOutput, SaysWhatIsLeft) {
  ZombieReport report = four_stages();
  report.stages[3] = zombie_account("cleaned up", 15, 10, 81);
  EXPECT_THAT(zombies_text(report), HasSubstr("5 more memory cgroups are left"));
}

TEST(LabZombiesOutput, JsonHasEveryRowAndNullForTheUnknown) {
  const nlohmann::json stage = nlohmann::json::parse(zombies_stage_json(four_stages().stages[2]));
  EXPECT_EQ(stage.at("stage"), "removed");
  EXPECT_EQ(stage.at("kernel_total"), 2'012);
  EXPECT_EQ(stage.at("visible"), 12);
  EXPECT_EQ(stage.at("slab_bytes"), 100 * zombie_mib);
  EXPECT_TRUE(stage.at("dentries").is_null());
  const nlohmann::json end = nlohmann::json::parse(zombies_end_json(four_stages()));
  EXPECT_EQ(end.at("stayed"), 2'000);
  EXPECT_EQ(end.at("pin"), "tmpfs");
}

}  // namespace
}  // namespace stallscope::cli
