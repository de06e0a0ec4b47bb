// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "base/owned_fd.h"
#include "probe/local_address.h"
#include "probe/netns.h"
#include "probe/resolve.h"
#include "probe/test_netns.h"

namespace stallscope::probe {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(NetworkNamespace, RunsInItWithoutMovingTheCaller) {
  const TestNetns netns;
  const std::uint64_t before = NetworkNamespace::own()->inode();
  const base::Result<NetworkNamespace> opened = NetworkNamespace::open(netns.path());
  ASSERT_TRUE(opened);
  std::uint64_t inside = 0;
  ASSERT_TRUE(run_in_netns(*opened, [&] { inside = NetworkNamespace::own()->inode(); }));
  EXPECT_EQ(inside, opened->inode());
  EXPECT_NE(inside, before);
  EXPECT_EQ(NetworkNamespace::own()->inode(), before);
}

/// A process that stays in a namespace until this object goes, or its parent dies.
class Inhabitant {
 public:
  explicit Inhabitant(const TestNetns& netns) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("cannot make a pipe");
    }
    base::OwnedFd read_end(ends[0]);
    hold_ = base::OwnedFd(ends[1]);
    netns.run([&] {
      pid_ = fork();
      if (pid_ == 0) {
        ::close(hold_.get());
        char byte = 0;
        const ssize_t got = ::read(read_end.get(), &byte, 1);
        _exit(got == 0 ? 0 : 1);
      }
    });
  }
  ~Inhabitant() {
    hold_.reset();
    waitpid(pid_, nullptr, 0);
  }
  Inhabitant(const Inhabitant&) = delete;
  Inhabitant& operator=(const Inhabitant&) = delete;
  Inhabitant(Inhabitant&&) = delete;
  Inhabitant& operator=(Inhabitant&&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  base::OwnedFd hold_;
  pid_t pid_ = -1;
};

TEST(LocalAddress, IsFoundInEveryNamespaceThatHasIt) {
  const TestNetns first;
  const TestNetns second;
  join(first, "10.203.7.1/24", second, "10.203.7.2/24");
  second.ip("addr add 10.203.7.1/32 dev lo");  // the same address once more
  const Inhabitant in_first(first);
  const Inhabitant in_second(second);

  const base::Result<LocalAddressSearch> search = find_local_address(address("10.203.7.1"));
  ASSERT_TRUE(search);
  EXPECT_GE(search->namespaces_searched, 3U);
  ASSERT_THAT(search->matches, SizeIs(2));
  const auto match_of = [&](const TestNetns& netns) {
    const std::uint64_t inode = NetworkNamespace::open(netns.path())->inode();
    return std::find_if(search->matches.begin(), search->matches.end(),
                        [&](const LocalAddress& match) { return match.netns_inode == inode; });
  };
  ASSERT_NE(match_of(first), search->matches.end());
  ASSERT_NE(match_of(second), search->matches.end());
  EXPECT_EQ(match_of(first)->interface, "veth");
  EXPECT_EQ(match_of(second)->interface, "lo");
  EXPECT_EQ(match_of(first)->netns_path, fmt::format("/proc/{}/ns/net", in_first.pid()));
  EXPECT_FALSE(match_of(first)->own_netns);

  EXPECT_THAT(find_local_address(address("10.203.7.9"))->matches, IsEmpty());
}

TEST(LocalAddress, LoopbackIsTheCallersOwn) {
  const TestNetns other;
  const Inhabitant in_other(other);
  for (const char* text : {"127.0.0.1", "127.9.8.7"}) {
    const base::Result<LocalAddressSearch> search = find_local_address(address(text));
    ASSERT_TRUE(search);
    ASSERT_THAT(search->matches, SizeIs(1)) << text;
    EXPECT_TRUE(search->matches[0].own_netns);
    EXPECT_EQ(search->matches[0].interface, "lo");
  }
}

TEST(LocalAddress, NamedNamespaceIsToldByItsName) {
  const TestNetns holder;
  holder.ip("addr add 10.203.8.1/32 dev lo");
  const std::string name = fmt::format("stallscope-test-{}", getpid());
  const std::filesystem::path directory = NetworkNamespace::named_directory;
  // Visible to this thread's mount namespace alone, so that a killed test leaves no name behind.
  std::thread([&] {
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0);
    std::filesystem::create_directory(directory);
    std::ofstream(directory / name).flush();
    std::ofstream(directory / "left-over").flush();
    ASSERT_EQ(mount(holder.path().c_str(), (directory / name).c_str(), nullptr, MS_BIND, nullptr), 0);

    const base::Result<LocalAddressSearch> search = find_local_address(address("10.203.8.1"));
    ASSERT_TRUE(search);
    EXPECT_THAT(search->not_searched, Not(Contains(HasSubstr("left-over"))));
    ASSERT_THAT(search->matches, SizeIs(1));
    EXPECT_EQ(search->matches[0].netns_name, name);
    EXPECT_EQ(NetworkNamespace::open(name)->inode(), search->matches[0].netns_inode);
  }).join();
}

TEST(LocalAddress, SaysWhatItCouldNotLookAt) {
  const TestNetns hidden;
  hidden.ip("addr add 10.203.9.1/32 dev lo");
  const Inhabitant in_hidden(hidden);
  std::thread([&] {
    constexpr uid_t nobody = 65534;
    // By the system call, because the C library would change the user of every thread.
    ASSERT_EQ(syscall(SYS_setresuid, nobody, nobody, nobody), 0);
    const base::Result<LocalAddressSearch> search = find_local_address(address("10.203.9.1"));
    ASSERT_TRUE(search) << search.error().message();
    EXPECT_THAT(search->matches, IsEmpty());
    EXPECT_THAT(search->not_searched, Contains(HasSubstr("not permitted")));
  }).join();
}

TEST(Resolve, NamesAreLookedUpAndRefusedForWhatTheyAre) {
  // In a mount namespace with a hosts file of its own, so that no name server is asked. /dev/shm is private to the thread.
  std::thread([] {
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(mount("tmpfs", "/dev/shm", "tmpfs", 0, nullptr), 0);
    std::ofstream("/dev/shm/hosts") << "10.1.2.3 four.test\nfd00::1 six.test\nfd00::1 both.test\n10.1.2.4 both.test\n";
    std::ofstream("/dev/shm/nsswitch.conf") << "hosts: files\n";
    ASSERT_EQ(mount("/dev/shm/hosts", "/etc/hosts", nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(mount("/dev/shm/nsswitch.conf", "/etc/nsswitch.conf", nullptr, MS_BIND, nullptr), 0);

    const base::Result<in_addr> four = resolve_target("four.test");
    ASSERT_TRUE(four) << four.error().message();
    EXPECT_EQ(format_address(*four), "10.1.2.3");
    const base::Result<in_addr> both = resolve_target("both.test");
    ASSERT_TRUE(both) << both.error().message();
    EXPECT_EQ(format_address(*both), "10.1.2.4");
    EXPECT_THAT(resolve_target("six.test").error().message(), HasSubstr("six.test: it has only IPv6 addresses"));
    EXPECT_THAT(resolve_target("none.test").error().message(), HasSubstr("cannot resolve none.test: unknown host"));
  }).join();
}

}  // namespace
}  // namespace stallscope::probe
