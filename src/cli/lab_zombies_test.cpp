// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/swap.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "census/census.h"
#include "cli/lab_fixture.h"

namespace stallscope::cli {
namespace {

/// Others make and remove memory cgroups meanwhile.
constexpr std::int64_t others_count = 50;
constexpr std::int64_t zombies_count = 800;

testing::Matcher<std::int64_t> about(std::int64_t count) {
  return testing::AllOf(testing::Ge(count - others_count), testing::Le(count + others_count));
}

/// Swap in a file, for as long as this lives.
class OwnSwap {
 public:
  OwnSwap() {
    constexpr std::size_t page_count = 8'192;
    const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const int fd = ::mkstemp(path_.data());
    EXPECT_GE(fd, 0);
    // What mkswap(8) writes: union swap_header of include/linux/swap.h. The file must have no holes.
    std::vector<char> content(page_count * page_bytes);
    constexpr std::size_t boot_bytes = 1'024;
    constexpr std::uint32_t version = 1;
    const std::uint32_t last_page = page_count - 1;
    constexpr std::string_view magic = "SWAPSPACE2";
    std::memcpy(content.data() + boot_bytes, &version, sizeof(version));
    std::memcpy(content.data() + boot_bytes + sizeof(version), &last_page, sizeof(last_page));
    std::memcpy(content.data() + page_bytes - magic.size(), magic.data(), magic.size());
    EXPECT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    EXPECT_EQ(::fsync(fd), 0);
    ::close(fd);
    refused_ = ::swapon(path_.c_str(), 0) == 0 ? 0 : errno;
  }
  ~OwnSwap() {
    if (refused_ == 0) {
      EXPECT_EQ(::swapoff(path_.c_str()), 0);
    }
    ::unlink(path_.c_str());
  }
  OwnSwap(const OwnSwap&) = delete;
  OwnSwap& operator=(const OwnSwap&) = delete;
  OwnSwap(OwnSwap&&) = delete;
  OwnSwap& operator=(OwnSwap&&) = delete;

  /// The errno of swapon(2), or 0.
  [[nodiscard]] int refused() const { return refused_; }

 private:
  std::string path_ = "/var/tmp/stallscope-test-swap-XXXXXX";
  int refused_ = 0;
};

class LabZombies : public LabCommand {
 protected:
  static std::vector<std::string> order(const std::string& pin, bool hold = false) {
    std::vector<std::string> arguments = {"zombies", "--count", std::to_string(zombies_count), "--pin", pin, "--json"};
    if (hold) {
      arguments.emplace_back("--hold");
    }
    return arguments;
  }

  /// Reads up to the stage; fails the test where it does not come.
  static json wait_for_stage(LabProcess& lab, const std::string& stage) {
    while (const std::optional<json> line = lab.next()) {
      if (line->value("stage", "") == stage) {
        return *line;
      }
    }
    ADD_FAILURE() << "no stage " << stage << ": " << lab.messages();
    return {};
  }

  /// Runs to the end; the four stages and the line at the end.
  void run_through(const std::string& pin) {
    LabProcess lab(order(pin));
    lines_ = lab.rest();
    ASSERT_EQ(lab.exit_status(), exit_clean) << lab.messages();
    ASSERT_EQ(lines_.size(), 5U);
    const std::vector<std::string> stages = {"before", "created", "removed", "cleaned up"};
    for (std::size_t i = 0; i < stages.size(); ++i) {
      EXPECT_EQ(lines_[i].at("stage"), stages[i]);
    }
  }

  [[nodiscard]] std::int64_t more(std::size_t stage, const char* row) const {
    return lines_[stage].at(row).get<std::int64_t>() - lines_.front().at(row).get<std::int64_t>();
  }

  enum Stage : std::size_t { before, made, removed, cleaned, end };
  std::vector<json> lines_;
};

TEST_F(LabZombies, PagesKeepThemAndEachStageIsCounted) {
  for (const std::string pin : {"tmpfs", "page-cache"}) {
    SCOPED_TRACE(pin);
    ASSERT_NO_FATAL_FAILURE(run_through(pin));
    EXPECT_THAT(more(made, "kernel_total"), about(zombies_count));
    EXPECT_THAT(more(made, "visible"), about(zombies_count));
    EXPECT_THAT(more(removed, "kernel_total"), about(zombies_count));
    EXPECT_THAT(more(removed, "visible"), about(0));
    EXPECT_THAT(more(removed, "dying"), about(zombies_count));
    EXPECT_THAT(more(cleaned, "kernel_total"), about(0));
    EXPECT_GT(lines_[removed].at("slab_bytes"), lines_[before].at("slab_bytes"));
    EXPECT_GE(lines_[end].at("stayed"), zombies_count - others_count);
    expect_all_gone();
  }
}

TEST_F(LabZombies, CachedNamesAreMadeAndGo) {
  ASSERT_NO_FATAL_FAILURE(run_through("dentries"));
  EXPECT_THAT(more(made, "kernel_total"), about(zombies_count));
  // The kernel sums this count of its CPUs without a lock.
  EXPECT_GT(more(made, "dentries"), zombies_count / 2);
  EXPECT_THAT(more(cleaned, "kernel_total"), about(0));
  expect_all_gone();
}

TEST_F(LabZombies, SwappedPagesKeepThemAndTheCensusSaysSo) {
  const OwnSwap swap;
  if (swap.refused() != 0) {
    GTEST_SKIP() << "this machine takes no swap file: " << std::strerror(swap.refused());
  }
  LabProcess lab(order("swap", true));
  const json before_all = wait_for_stage(lab, "before");
  const json removed_all = wait_for_stage(lab, "removed");
  EXPECT_GT(removed_all.at("swap_used_bytes"), before_all.at("swap_used_bytes"));
  census::CensusOptions options;
  options.read_cost = false;
  const std::vector<census::MemcgGroup> pins = census::dying_by_pin(census::take_census(options).table);
  const auto by_swap = std::find_if(pins.begin(), pins.end(), [](const census::MemcgGroup& group) { return group.name == "swap"; });
  ASSERT_NE(by_swap, pins.end());
  EXPECT_THAT(by_swap->memcg_count, about(zombies_count));
  lab.signal(SIGINT);
  const std::vector<json> lines = lab.rest();
  ASSERT_FALSE(lines.empty());
  EXPECT_GE(lines.back().at("stayed"), zombies_count - others_count);
  EXPECT_EQ(lab.exit_status(), exit_clean);
  expect_all_gone();
}

TEST_F(LabZombies, TheWantOfSwapIsSaid) {
  const base::Result<std::string> swaps = base::read_file("/proc/swaps");
  ASSERT_TRUE(swaps);
  if (std::count(swaps->begin(), swaps->end(), '\n') > 1) {
    GTEST_SKIP() << "this machine has swap";
  }
  LabProcess lab(order("swap"));
  EXPECT_EQ(lab.exit_status(), exit_error);
  EXPECT_THAT(lab.messages(), testing::HasSubstr("this machine has no swap"));
  expect_all_gone();
}

TEST_F(LabZombies, AreHeldUntilAStopAndThenGo) {
  LabProcess lab(order("tmpfs", true));
  wait_for_stage(lab, "removed");
  EXPECT_GE(cgroups(), cgroups_before_ + zombies_count - others_count);
  EXPECT_EQ(lab.wait_status_now(), std::nullopt) << "it did not hold them";
  lab.signal(SIGINT);
  wait_for_stage(lab, "cleaned up");
  static_cast<void>(lab.rest());
  EXPECT_EQ(lab.exit_status(), exit_clean);
  expect_all_gone();
}

TEST_F(LabZombies, AStopWhileTheyAreMadeLeavesNothing) {
  LabProcess lab({"zombies", "--count", "20000", "--json"});
  wait_for_stage(lab, "before");
  ASSERT_TRUE(eventually([&] { return pinned_bytes() > 1'000'000; }));
  lab.signal(SIGTERM);
  EXPECT_THAT(lab.rest(), testing::IsEmpty());
  EXPECT_EQ(lab.exit_status(), exit_error);
  EXPECT_THAT(lab.messages(), testing::HasSubstr("stopped by a signal"));
  expect_all_gone();
}

TEST_F(LabZombies, DownRemovesWhatAKilledOneLeftAtAnyStage) {
  for (const std::string pin : {"tmpfs", "page-cache", "dentries"}) {
    for (const std::string stage : {"created", "removed"}) {
      SCOPED_TRACE(pin);
      SCOPED_TRACE(stage);
      {
        LabProcess lab(order(pin, true));
        wait_for_stage(lab, stage);
        lab.signal(SIGKILL);
        ASSERT_EQ(lab.exit_status(), -SIGKILL);
      }
      EXPECT_THAT(left_pins(), testing::SizeIs(1)) << "nothing was left, so this test tests nothing";
      EXPECT_TRUE(std::filesystem::exists(hierarchy_.lab_cgroup()));
      LabProcess down({"down"});
      EXPECT_EQ(down.exit_status(), exit_clean) << down.messages();
      expect_all_gone();
    }
  }
}

TEST_F(LabZombies, RefusesTooManyAndWhatItDoesNotKnow) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"zombies", "--count", "65536"}, "--count"},
      {{"zombies", "--count", "0"}, "--count"},
      {{"zombies", "--pin", "ext4"}, "page-cache"},
  };
  expect_refused(cases);
}

}  // namespace
}  // namespace stallscope::cli
