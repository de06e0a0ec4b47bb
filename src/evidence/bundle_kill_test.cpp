// SPDX-License-Identifier: Apache-2.0
// What a recorder that was killed leaves behind, and what is read of it.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/files.h"
#include "base/owned_fd.h"
#include "evidence/test_evidence.h"

namespace stallscope::evidence {
namespace {

using testing::HasSubstr;

constexpr std::int64_t committed_probes = 10;

struct Pipe {
  base::OwnedFd read_end;
  base::OwnedFd write_end;
};
Pipe make_pipe() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {base::OwnedFd(ends[0]), base::OwnedFd(ends[1])};
}

/// Everything a child process says until it ends; the child is reaped.
std::string run_in_child(const std::function<std::string()>& work) {
  Pipe pipe = make_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said;
    try {
      said = work();
    } catch (const std::exception& failure) {
      said = failure.what();
    }
    static_cast<void>(::write(pipe.write_end.get(), said.data(), said.size()));
    ::_exit(0);
  }
  pipe.write_end.reset();
  std::string said;
  std::array<char, 4096> buffer{};
  ssize_t got = 0;
  while ((got = ::read(pipe.read_end.get(), buffer.data(), buffer.size())) > 0) {
    said.append(buffer.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  return said;
}

/// A recorder that committed some probes, added `uncommitted` packets and was then killed with SIGKILL.
void record_and_be_killed(const std::string& path, std::int64_t uncommitted) {
  Pipe pipe = make_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      BundleWriter writer = value_of(BundleWriter::create(path, {}));
      for (std::int64_t sequence = 0; sequence < committed_probes; ++sequence) {
        require(writer.add(ProbeRecord{.sequence = sequence}));
      }
      require(writer.commit());
      PacketRecord packet;
      packet.device = std::string(200, 'd');
      for (std::int64_t sequence = 0; sequence < uncommitted; ++sequence) {
        require(writer.add(ProbeRecord{.sequence = sequence, .received_ns = 99}));
        require(writer.add(packet));
      }
      static_cast<void>(::write(pipe.write_end.get(), "!", 1));
      while (true) {
        ::pause();
      }
    } catch (const std::exception&) {
      ::_exit(1);
    }
  }
  pipe.write_end.reset();
  char ready = 0;
  EXPECT_EQ(::read(pipe.read_end.get(), &ready, 1), 1) << "the recorder failed";
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
}

/// What a reader finds: "10 probes, 0 packets", or the error.
std::string found(const std::string& path) {
  const base::Result<Evidence> evidence = read_bundle(path);
  return evidence ? fmt::format("{} probes, {} packets", evidence->probes.size(), evidence->packets.size())
                  : evidence.error().message();
}

class Killed : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder);
    std::filesystem::permissions(folder, std::filesystem::perms(0755));
  }

  /// Reads as a user who may read the files but not write to the directory.
  [[nodiscard]] std::string found_without_privileges() const {
    std::filesystem::permissions(directory.path(), std::filesystem::perms(0755));
    std::filesystem::permissions(path, std::filesystem::perms(0644));
    std::filesystem::permissions(journal_path(path), std::filesystem::perms(0644));
    std::filesystem::permissions(folder, std::filesystem::perms(0555));
    std::string result = run_in_child([this]() -> std::string {
      constexpr unsigned nobody = 65534;
      const bool dropped = ::geteuid() != 0 || (::setgroups(0, nullptr) == 0 && ::setgid(nobody) == 0 && ::setuid(nobody) == 0);
      return dropped && ::access(folder.c_str(), W_OK) != 0 ? found(path) : "still privileged";
    });
    std::filesystem::permissions(folder, std::filesystem::perms(0755));
    return result;
  }

  TemporaryDirectory directory = test_directory();
  std::string folder = directory.path() + "/bundles";
  std::string path = folder + "/run.stall";
};

TEST_F(Killed, BetweenCommitsLeavesOneWholeFile) {
  record_and_be_killed(path, 0);
  EXPECT_FALSE(std::filesystem::exists(journal_path(path)));
  EXPECT_EQ(found(path), "10 probes, 0 packets");
}

// As long as a transaction fits the writer's cache, the file itself is not touched before commit(), and is whole without its
// journal.
TEST_F(Killed, InATransactionLeavesAWholeFile) {
  record_and_be_killed(path, 5);
  ASSERT_TRUE(std::filesystem::exists(journal_path(path)));
  EXPECT_EQ(found(path), "10 probes, 0 packets");
  std::filesystem::remove(journal_path(path));
  EXPECT_EQ(found(path), "10 probes, 0 packets");
}

constexpr std::int64_t more_than_the_cache = 60'000;

TEST_F(Killed, WithUncommittedPagesInTheFileIsRolledBackInPlace) {
  record_and_be_killed(path, more_than_the_cache);
  const auto torn_bytes = std::filesystem::file_size(path);
  EXPECT_EQ(found(path), "10 probes, 0 packets");
  EXPECT_FALSE(std::filesystem::exists(journal_path(path)));
  EXPECT_LT(std::filesystem::file_size(path), torn_bytes);
  EXPECT_EQ(value_of(read_bundle(path)).probes.front().received_ns, ProbeRecord::not_received);
}

TEST_F(Killed, IsReadByAUserWhoCannotWriteThere) {
  record_and_be_killed(path, more_than_the_cache);
  const std::string bundle = value_of(base::read_file(path));
  const std::string journal = value_of(base::read_file(journal_path(path)));
  EXPECT_EQ(found_without_privileges(), "10 probes, 0 packets");
  EXPECT_EQ(value_of(base::read_file(path)), bundle);
  EXPECT_EQ(value_of(base::read_file(journal_path(path))), journal);
}

TEST_F(Killed, JournalThatMayNotBeReadIsNamed) {
  record_and_be_killed(path, 5);
  std::filesystem::permissions(directory.path(), std::filesystem::perms(0755));
  std::filesystem::permissions(path, std::filesystem::perms(0644));
  std::filesystem::permissions(journal_path(path), std::filesystem::perms(0));
  const std::string result = run_in_child([this] {
    constexpr unsigned nobody = 65534;
    return ::geteuid() != 0 || (::setgid(nobody) == 0 && ::setuid(nobody) == 0) ? found(path) : "still privileged";
  });
  EXPECT_THAT(result, HasSubstr(journal_path(path) + ": Permission denied\n  Read it as its owner or with sudo."));
}

TEST_F(Killed, IsFoundThroughASymbolicLink) {
  record_and_be_killed(path, more_than_the_cache);
  const std::string link = directory.path() + "/link.stall";
  std::filesystem::create_symlink(path, link);
  EXPECT_EQ(found(link), "10 probes, 0 packets");
}

TEST_F(Killed, InADirectoryThatOthersWriteToIsReadFromACopy) {
  record_and_be_killed(path, more_than_the_cache);
  std::filesystem::permissions(folder, std::filesystem::perms(0777));
  EXPECT_EQ(found(path), "10 probes, 0 packets");
  EXPECT_TRUE(std::filesystem::exists(journal_path(path)));
}

/// The end of a journal that makes SQLite delete the file `name` once it is rolled back, as writeSuperJournal in pager.c makes it.
std::string super_journal_record(const std::string& name) {
  const auto big_endian = [](std::uint32_t value) {
    std::string bytes;
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
      bytes.push_back(static_cast<char>((value >> shift) & 0xffU));
    }
    return bytes;
  };
  constexpr std::uint32_t lock_byte_page = 0x40000000U / 4096 + 1;
  std::uint32_t checksum = 0;
  for (const char byte : name) {
    checksum += static_cast<std::uint32_t>(byte);
  }
  return big_endian(lock_byte_page) + name + big_endian(static_cast<std::uint32_t>(name.size())) + big_endian(checksum) +
         "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7";
}

TEST_F(Killed, JournalThatWouldDeleteAnotherFileIsRefused) {
  record_and_be_killed(path, more_than_the_cache);
  const std::string victim = directory.path() + "/victim";
  std::ofstream(victim) << "precious";
  std::ofstream(journal_path(path), std::ios::app | std::ios::binary) << super_journal_record(victim);
  EXPECT_THAT(found(path), HasSubstr("the journal beside it was not written by stallscope"));
  EXPECT_TRUE(std::filesystem::exists(victim));
}

}  // namespace
}  // namespace stallscope::evidence
