// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/files.h"
#include "evidence/schema.h"
#include "evidence/test_evidence.h"

namespace stallscope::evidence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::string create_failure(const std::string& path) {
  const base::Result<BundleWriter> writer = BundleWriter::create(path, {});
  return writer ? "" : writer.error().message();
}

std::vector<std::string> entries(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

class BundleCreate : public testing::Test {
 protected:
  TemporaryDirectory directory = test_directory();
  std::string path = directory.path() + "/run.stall";
};

TEST_F(BundleCreate, ExistingFileIsKeptAndTheNextStepNamed) {
  std::ofstream(path) << "precious";
  const std::string message = create_failure(path);
  EXPECT_THAT(message, HasSubstr("cannot create bundle " + path + ": it exists already"));
  EXPECT_THAT(message, HasSubstr("Give another name with --out, or remove it."));
  EXPECT_EQ(value_of(base::read_file(path)), "precious");
}

TEST_F(BundleCreate, MissingDirectoryIsNamed) {
  EXPECT_THAT(create_failure(directory.path() + "/no/run.stall"),
              HasSubstr("the directory " + directory.path() + "/no does not exist"));
}

TEST_F(BundleCreate, LongNameLeavesNothingBehind) {
  // The name fits; that of the journal beside it does not.
  EXPECT_THAT(create_failure(directory.path() + "/" + std::string(250, 'n')), StartsWith("cannot create bundle"));
  EXPECT_THAT(entries(directory.path()), IsEmpty());
}

TEST_F(BundleCreate, RecordThatCannotBeStoredLeavesNothingBehind) {
  RunRecord run;
  run.start_ns = -1;
  EXPECT_FALSE(BundleWriter::create(path, run));
  EXPECT_THAT(entries(directory.path()), IsEmpty());
}

TEST_F(BundleCreate, DoesNotFollowASymbolicLink) {
  const std::string target = directory.path() + "/target";
  std::filesystem::create_symlink(target, path);
  EXPECT_THAT(create_failure(path), HasSubstr("it exists already"));
  EXPECT_FALSE(std::filesystem::exists(target));
}

TEST_F(BundleCreate, DirectoryMayBeASymbolicLink) {
  std::filesystem::create_directory(directory.path() + "/real");
  std::filesystem::create_directory_symlink("real", directory.path() + "/link");
  EXPECT_EQ(create_failure(directory.path() + "/link/run.stall"), "");
  EXPECT_THAT(entries(directory.path() + "/real"), ElementsAre("run.stall"));
}

TEST_F(BundleCreate, NamesThatSqliteTreatsSpeciallyAreFiles) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  for (const std::string name : {":memory:", "file:run.stall?mode=memory"}) {
    EXPECT_EQ(create_failure(name), "");
    EXPECT_EQ(read_failure(name), "");
  }
  std::filesystem::current_path(before);
  EXPECT_THAT(entries(directory.path()), testing::UnorderedElementsAre(":memory:", "file:run.stall?mode=memory"));
}

TEST_F(BundleCreate, OthersCannotReadIt) {
  const mode_t before = ::umask(0);
  EXPECT_EQ(create_failure(path), "");
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0640U);
}

TEST_F(BundleCreate, IgnoresTheJournalOfABundleThatIsGone) {
  std::ofstream(journal_path(path)) << "stale";
  EXPECT_EQ(create_failure(path), "");
  EXPECT_THAT(entries(directory.path()), ElementsAre("run.stall"));
  EXPECT_EQ(read_failure(path), "");
}

class BundleWrite : public BundleCreate {
 protected:
  BundleWriter writer = value_of(BundleWriter::create(path, {}));
};

TEST_F(BundleWrite, CommitLeavesOneFile) {
  require(writer.add(ProbeRecord{}));
  require(writer.commit());
  EXPECT_THAT(entries(directory.path()), ElementsAre("run.stall"));
}

TEST_F(BundleWrite, DestructorCommits) {
  {
    BundleWriter last = std::move(writer);
    require(last.add(ProbeRecord{}));
  }
  EXPECT_EQ(value_of(read_bundle(path)).probes.size(), 1U);
}

TEST_F(BundleWrite, LaterProbeRunCensusCounterAndLossReplaceTheEarlier) {
  RunRecord run;
  run.state = "finished";
  require(writer.update_run(run));
  ProbeRecord probe;
  require(writer.add(probe));
  probe.received_ns = 5;
  require(writer.add(probe));
  for (const std::int64_t value : {1, 2}) {
    MemcgCensusRecord census;
    census.kernel_total = value;
    require(writer.add(census));
    require(writer.add(CounterRecord{"steal", 0, 0, value}));
    require(writer.add(LossRecord{"ring buffer", value}));
  }
  require(writer.commit());
  const Evidence evidence = value_of(read_bundle(path));
  EXPECT_EQ(evidence.run.state, "finished");
  EXPECT_THAT(evidence.probes, ElementsAre(probe));
  EXPECT_EQ(evidence.memcg_census->kernel_total, 2);
  EXPECT_THAT(evidence.counters, ElementsAre(CounterRecord{"steal", 0, 0, 2}));
  EXPECT_THAT(evidence.losses, ElementsAre(LossRecord{"ring buffer", 2}));
}

TEST_F(BundleWrite, SameFramesAreStoredOnce) {
  const std::vector<std::string> frames = {"a", "b"};
  const std::vector<std::string> joined = {"ab"};
  EXPECT_EQ(value_of(writer.add_stack(frames)), 1);
  EXPECT_EQ(value_of(writer.add_stack(joined)), 2);
  EXPECT_EQ(value_of(writer.add_stack(frames)), 1);
  EXPECT_EQ(value_of(writer.add_stack({})), 0);
  require(writer.commit());
  EXPECT_THAT(value_of(read_bundle(path)).stacks, ElementsAre(StackRecord{1, frames}, StackRecord{2, joined}));
}

TEST_F(BundleWrite, WaitsWithoutAnIdAreNumbered) {
  WaitRecord wait;
  wait.id = 5;
  require(writer.add(wait));
  wait.id = 0;
  require(writer.add(wait));
  require(writer.commit());
  const Evidence evidence = value_of(read_bundle(path));
  ASSERT_EQ(evidence.waits.size(), 2U);
  EXPECT_EQ(evidence.waits[1].id, 6);
}

TEST_F(BundleWrite, RefusedRecordLeavesNoPartAndTheWriterUsable) {
  WaitRecord wait;
  wait.id = 1;
  require(writer.add(wait));
  EXPECT_FALSE(writer.add(wait)) << "the id exists";

  wait.id = 2;
  wait.occupants.resize(2);
  wait.occupants[1].stack_id = 9;
  EXPECT_THAT(writer.add(wait).error().message(), HasSubstr("stack_id was not given by add_stack"));
  wait.occupants[1].stack_id = 0;
  wait.occupants[1].held_ns = -1;
  EXPECT_THAT(writer.add(wait).error().message(), HasSubstr("held_ns is out of range"));

  WaitRecord backwards;
  backwards.start_ns = 2;
  backwards.end_ns = 1;
  EXPECT_THAT(writer.add(backwards).error().message(), HasSubstr("start_ns <= end_ns"));

  const std::vector<std::string> too_long = {"f", std::string(70'000, 'f')};
  EXPECT_THAT(writer.add_stack(too_long).error().message(), HasSubstr("function is too long"));
  const std::vector<std::string> next = {"g"};
  EXPECT_EQ(value_of(writer.add_stack(next)), 1);

  require(writer.commit());
  const Evidence evidence = value_of(read_bundle(path));
  EXPECT_EQ(evidence.waits.size(), 1U);
  EXPECT_THAT(evidence.stacks, ElementsAre(StackRecord{1, next}));
}

TEST_F(BundleWrite, CommitWaitsForAReaderAndKeepsTheRecords) {
  Database reader;
  ASSERT_EQ(reader.open(path, SQLITE_OPEN_READONLY), SQLITE_OK);
  ASSERT_EQ(reader.execute("BEGIN; SELECT * FROM run"), SQLITE_OK);
  require(writer.add(ProbeRecord{}));
  EXPECT_THAT(writer.commit().error().message(), HasSubstr("another program holds a lock on it"));
  reader.close();
  require(writer.commit());
  EXPECT_EQ(value_of(read_bundle(path)).probes.size(), 1U);
}

TEST_F(BundleWrite, CanBeReadMeanwhile) {
  require(writer.add(ProbeRecord{}));
  EXPECT_THAT(value_of(read_bundle(path)).probes, IsEmpty());
  require(writer.commit());
  EXPECT_EQ(value_of(read_bundle(path)).probes.size(), 1U);
}

/// Lets no file grow beyond a size while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t limit_bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{limit_bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  FileSizeLimit(FileSizeLimit&&) = delete;
  FileSizeLimit& operator=(FileSizeLimit&&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    static_cast<void>(std::signal(SIGXFSZ, handler_));
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_F(BundleWrite, AfterAFailedWriteItRefusesAndTheCommittedStays) {
  require(writer.add(ProbeRecord{}));
  require(writer.commit());
  std::string first_failure;
  {
    const FileSizeLimit limit(std::filesystem::file_size(path));
    for (std::int64_t sequence = 1; sequence < 10'000; ++sequence) {
      require(writer.add(ProbeRecord{.sequence = sequence}));
    }
    first_failure = writer.commit().error().message();
  }
  EXPECT_THAT(first_failure, HasSubstr("cannot write bundle " + path + ": File too large"));
  EXPECT_THAT(first_failure, HasSubstr("What was committed before is kept."));
  EXPECT_EQ(writer.add(ProbeRecord{}).error().message(), first_failure);
  EXPECT_EQ(writer.commit().error().message(), first_failure);
  EXPECT_THAT(entries(directory.path()), ElementsAre("run.stall"));
  EXPECT_EQ(value_of(read_bundle(path)).probes.size(), 1U);
}

TEST_F(BundleCreate, AFailedFirstWriteLeavesNothingBehind) {
  std::string message;
  {
    const FileSizeLimit limit(20'000);
    message = create_failure(path);
  }
  EXPECT_THAT(message, HasSubstr("cannot create bundle " + path + ": File too large"));
  EXPECT_THAT(entries(directory.path()), IsEmpty());
}

TEST_F(BundleCreate, FileIsMarkedAsABundle) {
  EXPECT_EQ(create_failure(path), "");
  EXPECT_EQ(query_text(path, "PRAGMA application_id"), std::to_string(0x7374616c));
  EXPECT_EQ(query_text(path, "PRAGMA user_version"), "2");
  EXPECT_EQ(query_text(path, "PRAGMA journal_mode"), "delete");
}

TEST_F(BundleCreate, ViewsAnswerTheFirstQuestions) {
  Evidence evidence = complete_evidence();
  evidence.probes.push_back({3, 1'030'000'000, 1'030'000'000, 1'030'100'000, 1});
  evidence.probes.push_back({4, 1'040'000'000, 1'040'000'000, ProbeRecord::not_received, 1});
  write_evidence(path, evidence);
  EXPECT_EQ(query_text(path, "SELECT group_concat(sequence || '=' || score_ms) FROM late_probes"), "1=100.25,2=90.26");
  EXPECT_EQ(query_text(path, "SELECT late_count || '/' || probe_count || ' ' || unanswered_count FROM run_summary"), "2/4 1");
  EXPECT_EQ(query_text(path, "SELECT start_utc FROM run_summary"), "2026-09-21T14:13:21.000Z");
  EXPECT_EQ(query_text(path, "SELECT length_ms || ' ' || held_ms || ' ' || file FROM waits"),
            "99.0 98.6 /sys/fs/cgroup/memory/kubepods/memory.stat");
  EXPECT_EQ(query_text(path, "SELECT wait_count || ' ' || held_ms || ' ' || mode FROM waits_by_occupant"), "1 98.6 softirq_vector");
  EXPECT_EQ(query_text(path, "SELECT functions FROM stacks"), "vfs_read > seq_read_iter > css_rstat_flush");
}

}  // namespace
}  // namespace stallscope::evidence
