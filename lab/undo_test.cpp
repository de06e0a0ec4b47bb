// SPDX-License-Identifier: Apache-2.0
#include "lab/undo.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/files.h"

namespace stallscope::lab {
namespace {

class UndoTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "stallscope-undo-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    records_ = folder_ + "/records";
    write(setting(), "1\n");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string setting() const { return folder_ + "/setting"; }
  static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string read(const std::string& path) { return *base::read_file(path); }
  /// What a kill leaves: the change and its record, with nobody to undo it.
  static void kill(base::Result<Undo> undo) {
    ASSERT_TRUE(undo);
    // Never destroyed, as in a killed process; reachable, so that it is not a leak.
    static auto* const never_undone = new std::vector<Undo*>;
    never_undone->push_back(new Undo(std::move(*undo)));
  }
  static void ignore(std::string_view /*line*/) {}

  std::string folder_;
  std::string records_;
};

TEST_F(UndoTest, WritesBackWhatWasThereWhenItsOwnerGoes) {
  {
    const base::Result<Undo> undo = Undo::of_writing(setting(), "2", records_);
    ASSERT_TRUE(undo) << undo.error().message();
    EXPECT_EQ(read(setting()).substr(0, 1), "2");
  }
  EXPECT_EQ(read(setting()), "1\n");
  EXPECT_FALSE(std::filesystem::exists(records_));
}

TEST_F(UndoTest, UndoesTheChangesOfAKilledRunLastFirst) {
  const std::string log = folder_ + "/log";
  write(log, "");
  kill(Undo::of_writing(setting(), "2", records_));
  kill(Undo::of_writing(setting(), "3", records_));
  const base::Result<bool> found = undo_leftovers(ignore, records_);
  ASSERT_TRUE(found);
  EXPECT_TRUE(*found);
  EXPECT_EQ(read(setting()), "1\n");
  EXPECT_FALSE(std::filesystem::exists(records_));
  EXPECT_FALSE(*undo_leftovers(ignore, records_));
}

TEST_F(UndoTest, RunsAProgramAndForgetsOneThatFails) {
  const std::string made = folder_ + "/made";
  write(made, "");
  kill(Undo::by_running({"rm", made}, records_));
  kill(Undo::by_running({"rm", folder_ + "/never made"}, records_));
  std::string told;
  ASSERT_TRUE(undo_leftovers([&](std::string_view line) { told = line; }, records_));
  EXPECT_FALSE(std::filesystem::exists(made));
  EXPECT_NE(told.find("never made"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(records_));
}

TEST_F(UndoTest, KeepsTheRecordOfASettingItCannotRestore) {
  kill(Undo::of_writing(setting(), "2", records_));
  std::filesystem::remove(setting());
  std::filesystem::create_directory(setting());
  EXPECT_FALSE(undo_leftovers(ignore, records_));
  EXPECT_FALSE(std::filesystem::is_empty(records_));
}

TEST_F(UndoTest, ASettingThatHasGoneNeedsNoRestoring) {
  kill(Undo::of_writing(setting(), "2", records_));
  std::filesystem::remove(setting());
  EXPECT_TRUE(undo_leftovers(ignore, records_));
  EXPECT_FALSE(std::filesystem::exists(records_));
}

TEST_F(UndoTest, ADamagedRecordIsReportedAndKept) {
  for (const char* text : {"", "nonsense", "[]", R"({"path":1,"text":2})", R"({"run":"rm"})", R"({"run":[]})", R"({"run":[1]})"}) {
    std::filesystem::create_directory(records_);
    write(records_ + "/0001", text);
    const base::Result<bool> found = undo_leftovers(ignore, records_);
    ASSERT_FALSE(found) << text;
    EXPECT_EQ(found.error().object, records_ + "/0001");
    EXPECT_TRUE(std::filesystem::exists(records_ + "/0001"));
  }
}

TEST_F(UndoTest, WhatWasOnlyBegunToBeWrittenDownIsRemoved) {
  std::filesystem::create_directory(records_);
  write(records_ + "/.draft", "{");
  EXPECT_FALSE(*undo_leftovers(ignore, records_));
  EXPECT_FALSE(std::filesystem::exists(records_));
}

TEST_F(UndoTest, ALaterChangeIsUndoneFirstThoughAnEarlierOneHasGone) {
  base::Result<Undo> first = Undo::by_running({"true"}, records_);
  kill(Undo::of_writing(setting(), "2", records_));
  ASSERT_TRUE(first);
  ASSERT_TRUE(first->now());
  kill(Undo::of_writing(setting(), "3", records_));
  ASSERT_TRUE(undo_leftovers(ignore, records_));
  EXPECT_EQ(read(setting()), "1\n");
}

TEST_F(UndoTest, AChangeThatCannotBeMadeLeavesNoRecord) {
  EXPECT_FALSE(Undo::of_writing(folder_ + "/none", "2", records_));
  EXPECT_FALSE(std::filesystem::exists(records_));
}

}  // namespace
}  // namespace stallscope::lab
