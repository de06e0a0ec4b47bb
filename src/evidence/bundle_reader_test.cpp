// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/files.h"
#include "evidence/schema.h"
#include "evidence/test_evidence.h"

namespace stallscope::evidence {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

constexpr const char* damaged = "it is damaged: ";

class BundleRead : public testing::Test {
 protected:
  void write_text(const std::string& content) const { std::ofstream(path, std::ios::binary | std::ios::trunc) << content; }

  TemporaryDirectory directory = test_directory();
  std::string path = directory.path() + "/run.stall";
};

TEST_F(BundleRead, MissingFile) {
  EXPECT_EQ(read_failure(path),
            "cannot read bundle " + path +
                ": it does not exist\n  Check the name; a recording prints the name of its bundle when it ends.");
}

TEST_F(BundleRead, Directory) {
  EXPECT_THAT(read_failure(directory.path()), HasSubstr("it is a directory\n  Give the name of a .stall file"));
}

TEST_F(BundleRead, FifoDoesNotBlock) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(read_failure(path), HasSubstr("it is not a regular file"));
}

TEST_F(BundleRead, EmptyFile) {
  write_text("");
  EXPECT_THAT(read_failure(path), HasSubstr("it is empty\n  Its recorder was killed before it stored anything."));
}

TEST_F(BundleRead, TextFile) {
  write_text("a note");
  EXPECT_THAT(read_failure(path), HasSubstr("it is not an SQLite database\n  Give the name of a .stall file"));
  write_text(std::string(10'000, 'x'));
  EXPECT_THAT(read_failure(path), HasSubstr("it is not an SQLite database\n  Give the name of a .stall file"));
}

TEST_F(BundleRead, AnotherDatabase) {
  write_evidence(path, {});
  tamper(path, "PRAGMA application_id = 0");
  EXPECT_THAT(read_failure(path), HasSubstr("it is an SQLite database, but not of stallscope"));
}

TEST_F(BundleRead, OtherVersions) {
  write_evidence(path, {});
  const std::string reads = "; this stallscope reads version " + std::to_string(bundle_version) + "\n  ";
  const std::string next = std::to_string(bundle_version + 1);
  tamper(path, "PRAGMA user_version = " + next);
  EXPECT_THAT(read_failure(path), HasSubstr("it has version " + next + reads + "Read it with a newer stallscope."));
  tamper(path, "PRAGMA user_version = 0");
  EXPECT_THAT(read_failure(path), HasSubstr("it has version 0" + reads + "Read it with the stallscope that"));
}

TEST_F(BundleRead, CutShortAnywhereIsDamagedOrStillWhole) {
  write_evidence(path, complete_evidence());
  const std::string whole = value_of(base::read_file(path));
  const Evidence evidence = value_of(read_bundle(path));
  for (std::size_t size = 1; size < whole.size(); size += size < 4096 ? 97 : 1021) {
    write_text(whole.substr(0, size));
    const base::Result<Evidence> read = read_bundle(path);
    if (read) {
      EXPECT_EQ(*read, evidence) << size;
    } else {
      EXPECT_THAT(read.error().message(), AnyOf(HasSubstr(damaged), HasSubstr("it is not an SQLite database"))) << size;
    }
  }
  write_text(whole.substr(0, 5000));
  EXPECT_THAT(read_failure(path), HasSubstr("Copy it again from where it was recorded."));
}

TEST_F(BundleRead, EveryFlippedByteIsReadOrRefused) {
  write_evidence(path, complete_evidence());
  const std::string whole = value_of(base::read_file(path));
  // A step coprime to the page size visits all kinds of places; the first page holds the header and the schema's root.
  for (std::size_t position = 0; position < whole.size(); position += position < 200 ? 1 : 509) {
    std::string changed = whole;
    changed[position] = static_cast<char>(~static_cast<unsigned char>(changed[position]));
    write_text(changed);
    const base::Result<Evidence> read = read_bundle(path);
    if (!read) {
      EXPECT_THAT(read.error().message(), HasSubstr("cannot read bundle " + path + ": "));
      EXPECT_FALSE(read.error().hint.empty()) << read.error().message();
    }
  }
}

TEST_F(BundleRead, TooLargeAFileOrTooManyRecordsAreRefused) {
  write_evidence(path, complete_evidence());
  EXPECT_THAT(read_failure(path, {.file_bytes = 10'000}), HasSubstr("more than the 10000 that are read"));
  EXPECT_THAT(read_failure(path, {.memory_bytes = 1'000}), HasSubstr("more than the 1000 bytes that are allowed"));
}

TEST_F(BundleRead, LeavesAnIntactFileAlone) {
  write_evidence(path, complete_evidence());
  const std::string before = value_of(base::read_file(path));
  EXPECT_EQ(read_failure(path), "");
  EXPECT_EQ(value_of(base::read_file(path)), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), std::filesystem::directory_iterator()), 1);
}

TEST_F(BundleRead, ThroughASymbolicLink) {
  write_evidence(path, complete_evidence());
  const std::string link = directory.path() + "/link";
  std::filesystem::create_symlink("run.stall", link);
  EXPECT_EQ(read_failure(link), "");
}

/// What somebody did to a bundle, and what the reader says about it.
struct Tampering {
  const char* name;
  std::string sql;
  std::string complaint;
};
std::ostream& operator<<(std::ostream& out, const Tampering& tampering) {
  return out << tampering.name;
}

/// SQL that replaces a table by one that enforces nothing and holds the same rows.
std::string unchecked(const std::string& table) {
  return "CREATE TABLE loose AS SELECT * FROM " + table + "; DROP TABLE " + table + "; ALTER TABLE loose RENAME TO " + table + ";";
}

class Tampered : public BundleRead, public testing::WithParamInterface<Tampering> {};

TEST_P(Tampered, IsRefusedWithTheReason) {
  write_evidence(path, complete_evidence());
  tamper(path,
         "DROP VIEW late_probes; DROP VIEW run_summary; DROP VIEW http_phases; DROP VIEW waits; DROP VIEW waits_by_occupant; DROP "
         "VIEW stacks;" +
             GetParam().sql);
  const std::string message = read_failure(path);
  EXPECT_THAT(message, HasSubstr(GetParam().complaint));
  EXPECT_THAT(message, HasSubstr("cannot read bundle " + path));
}

INSTANTIATE_TEST_SUITE_P(
    Bundle, Tampered,
    testing::Values(
        Tampering{"text_for_integer", unchecked("probe") + "UPDATE probe SET sent_ns = 'soon' WHERE sequence = 2",
                  "probe row 2: sent_ns is not an integer"},
        Tampering{"real_for_integer", unchecked("probe") + "UPDATE probe SET sent_ns = 1.5 WHERE sequence = 1",
                  "probe row 1: sent_ns is not an integer"},
        Tampering{"null", unchecked("probe") + "UPDATE probe SET sent_ns = NULL", "probe row 1: sent_ns is not an integer"},
        Tampering{"blob_for_text", unchecked("gap") + "UPDATE gap SET what = x'00'", "gap row 1: what is not text"},
        Tampering{"null_text", unchecked("gap") + "UPDATE gap SET what = NULL", "gap row 1: what is not text"},
        Tampering{"long_text", unchecked("gap") + "UPDATE gap SET what = replace(hex(zeroblob(40000)), '00', 'ab')",
                  "gap row 1: what is too long"},
        Tampering{"huge_text", unchecked("gap") + "UPDATE gap SET what = replace(hex(zeroblob(2000000)), '00', 'ab')", damaged},
        Tampering{"negative_count", unchecked("slab") + "UPDATE slab SET total_bytes = -1",
                  "slab row 1: total_bytes is out of range"},
        Tampering{"impossible_time", unchecked("probe") + "UPDATE probe SET received_ns = 9223372036854775807",
                  "probe row 1: received_ns is out of range"},
        Tampering{"wide_integer", unchecked("packet") + "UPDATE packet SET netns_inode = 4294967296",
                  "packet row 1: netns_inode is out of range"},
        Tampering{"many_cpus", unchecked("wait") + "UPDATE wait SET cpu = 2000000000", "wait row 1: cpu is out of range"},
        Tampering{"boolean", unchecked("run") + "UPDATE run SET traced = 2", "run row 1: traced is out of range"},
        Tampering{"unknown_mode", unchecked("wait") + "UPDATE wait SET mode = 'bored'", "wait row 1: mode holds an unknown id"},
        Tampering{"number_for_mode", unchecked("wait") + "UPDATE wait SET mode = -1", "wait row 1: mode holds an unknown id"},
        Tampering{"backwards", unchecked("wait") + "UPDATE wait SET end_ns = start_ns - 1",
                  "wait row 1: start_ns <= end_ns does not hold"},
        Tampering{"repeated_wait", unchecked("wait") + "UPDATE wait SET id = 7", "wait row 2: id is not unique"},
        Tampering{"repeated_probe", unchecked("probe") + "UPDATE probe SET sequence = 1", "probe row 2: sequence is not unique"},
        Tampering{"no_run", "DELETE FROM run", "it has no run"},
        Tampering{"two_runs", unchecked("run") + "INSERT INTO run SELECT * FROM run", "run row 2: id is not unique"},
        Tampering{"occupant_of_nothing", "DELETE FROM wait WHERE id = 8", "occupant row 3: wait_id names no wait"},
        Tampering{"stack_of_nothing", "DELETE FROM stack_frame WHERE stack_id = 2", "occupant row 2: stack_id names no stack"},
        Tampering{"missing_table", "DROP TABLE loss", "no such table: main.loss"},
        Tampering{"missing_column", "ALTER TABLE loss RENAME COLUMN count TO amount", "no such column: count"},
        Tampering{"view_for_table", "DROP TABLE loss; CREATE VIEW loss AS SELECT 'x' AS place, 1 AS count",
                  "access to view \"loss\" prohibited"},
        Tampering{"virtual_table", "DROP TABLE loss; CREATE VIRTUAL TABLE loss USING fts5(place, count)", "no such module: fts5"},
        Tampering{"broken_schema", "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'probe'",
                  damaged},
        Tampering{"shared_pages",
                  "CREATE TABLE other (a, b, c, d, e); PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = "
                  "(SELECT rootpage FROM sqlite_schema WHERE name = 'probe') WHERE name = 'other'",
                  "2nd reference to page"}),
    [](const auto& tampering) { return std::string(tampering.param.name); });

TEST_F(BundleRead, WhatPeopleAddToABundleDoesNoHarm) {
  write_evidence(path, complete_evidence());
  const Evidence before = value_of(read_bundle(path));
  tamper(path,
         "CREATE INDEX by_time ON probe (sent_ns DESC); CREATE TABLE notes (text); CREATE VIEW loud AS SELECT * FROM notes;"
         "CREATE TRIGGER shout AFTER INSERT ON probe BEGIN DELETE FROM run; END; ANALYZE; VACUUM");
  EXPECT_EQ(value_of(read_bundle(path)), before);
}

TEST_F(BundleRead, WriteAheadLogIsRefusedWithTheWayBack) {
  write_evidence(path, complete_evidence());
  tamper(path, "PRAGMA journal_mode = WAL");
  EXPECT_THAT(read_failure(path), HasSubstr("it was switched to a write-ahead log\n  Switch it back with: sqlite3 FILE"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), std::filesystem::directory_iterator()), 1);
  tamper(path, "PRAGMA journal_mode = DELETE");
  EXPECT_EQ(read_failure(path), "");
}

}  // namespace
}  // namespace stallscope::evidence
