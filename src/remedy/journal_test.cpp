// SPDX-License-Identifier: Apache-2.0
#include "remedy/journal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace stallscope::remedy {
namespace {

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() : directory_(::testing::TempDir() + "stallscope-journal-" + std::to_string(::getpid())) {}
  ~JournalTest() override { std::filesystem::remove_all(directory_); }

  const Application application_{"punch-file", {"/dev/shm/a \"b\"\n"}, "none", 7};
  std::string directory_;
};

TEST_F(JournalTest, TellsTheNextRunOfOneThatWasKilled) {
  {
    const base::Result<Journal> journal = Journal::open(directory_);
    ASSERT_TRUE(journal) << journal.error().message();
    EXPECT_EQ(journal->unfinished(), std::nullopt);
    ASSERT_TRUE(journal->begin(application_));
  }
  {
    const base::Result<Journal> next = Journal::open(directory_);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->unfinished(), application_);
    ASSERT_TRUE(next->begin(application_));
    ASSERT_TRUE(next->end("done"));
  }
  EXPECT_EQ(Journal::open(directory_)->unfinished(), std::nullopt);
}

TEST_F(JournalTest, IgnoresLinesThatAreNotItsOwn) {
  std::filesystem::create_directory(directory_);
  std::ofstream(directory_ + "/journal") << "{\"event\":\"begin\",\"option\":3}\nnot json\n[1]\n{\"event\":\"beg";
  const base::Result<Journal> journal = Journal::open(directory_);
  ASSERT_TRUE(journal);
  EXPECT_EQ(journal->unfinished(), std::nullopt);
}

TEST_F(JournalTest, IsHeldByOneProcessAtATime) {
  const base::Result<Journal> held = Journal::open(directory_);
  ASSERT_TRUE(held);
  const ::pid_t child = ::fork();
  if (child == 0) {
    const base::Result<Journal> second = Journal::open(directory_);
    ::_exit(!second && second.error().reason.find("another remedy") != std::string::npos ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace stallscope::remedy
