// SPDX-License-Identifier: Apache-2.0
#include "census/dying_memcgs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "base/files.h"
#include "base/text.h"
#include "census/memcg_counts.h"
#include "census/memcg_walk.h"
#include "host/mounts.h"

namespace stallscope::census {
namespace {

namespace fs = std::filesystem;

constexpr const char* batch_filler = "/dev/shm/stallscope-census-test-batch";
// Above PAGEVEC_SIZE (31 since Linux 6.8, 15 before): that many new pages push a CPU's batch onto the LRU lists.
constexpr int batch_pages = 64;
constexpr auto release_timeout = std::chrono::seconds(30);

void check(const base::Status& status) {
  if (!status) {
    throw std::runtime_error(status.error().message());
  }
}

host::CgroupHierarchy hierarchy() {
  const base::Result<std::string> mounts = base::read_file("/proc/self/mountinfo");
  if (!mounts) {
    throw std::runtime_error(mounts.error().message());
  }
  return count_memcgs("", host::parse_mountinfo(*mounts)).hierarchy;
}

/// The directory of the cgroup this process is in.
std::string own_cgroup(const host::CgroupHierarchy& memory) {
  const base::Result<std::string> memberships = base::read_file("/proc/self/cgroup");
  if (!memberships) {
    throw std::runtime_error(memberships.error().message());
  }
  for (const std::string_view line : base::split(*memberships, '\n')) {
    const std::vector<std::string_view> fields = base::split(line, ':');
    if (fields.size() == 3 && fields[1] == (memory.version == 1 ? "memory" : "")) {
      return memory.mount_point + std::string(fields[2]);
    }
  }
  throw std::runtime_error("this process is in no memory cgroup");
}

void stay_on_this_cpu() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &cpus);
  if (::sched_setaffinity(0, sizeof(cpus), &cpus) != 0) {
    throw std::runtime_error("cannot stay on one CPU");
  }
}

void enter(const std::string& cgroup) {
  check(base::write_file(cgroup + "/cgroup.procs", fmt::format("{}", ::getpid())));
}

void append_page(int file) {
  static const std::array<char, 4096> page{};
  struct stat status {};
  if (::fstat(file, &status) != 0 || ::pwrite(file, page.data(), page.size(), status.st_size) != ssize_t{page.size()}) {
    throw std::runtime_error("cannot add a page to the pinning file");
  }
}

}  // namespace

DyingMemcgs::DyingMemcgs() {
  const host::CgroupHierarchy memory = hierarchy();
  original_cgroup_ = own_cgroup(memory);
  cgroup_ = memory.mount_point + "/stallscope-census-test";
  std::error_code missing;
  for (const fs::directory_entry& left : fs::directory_iterator(cgroup_, missing)) {
    if (left.is_directory()) {
      ::rmdir(left.path().c_str());
    }
  }
  fs::create_directory(cgroup_);
  if (memory.version == 2) {
    check(base::write_file(memory.mount_point + "/cgroup.subtree_control", "+memory"));
    check(base::write_file(cgroup_ + "/cgroup.subtree_control", "+memory"));
  }
  stay_on_this_cpu();
}

DyingMemcgs::~DyingMemcgs() {
  end_live();
  ::unlink(batch_filler);
  const auto deadline = std::chrono::steady_clock::now() + release_timeout;
  while (walked_count() > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (const std::int64_t left = walked_count(); left > 0) {
    ADD_FAILURE() << left << " memory cgroups are still dying: the file that pins them was not removed first";
  }
  ::rmdir(cgroup_.c_str());
}

void DyingMemcgs::pin(int file, int count) {
  // In a process of its own: memory that it touches for the first time while in a cgroup is charged there, and would keep that
  // cgroup until it ends. Under AddressSanitizer, which hands out freed memory late, that is one cgroup in twelve.
  const ::pid_t child = ::fork();
  if (child < 0) {
    throw std::runtime_error("cannot fork");
  }
  if (child == 0) {
    int status = 0;
    try {
      make_and_remove(file, count);
    } catch (const std::exception& failure) {
      fmt::print(stderr, "pinning memory cgroups: {}\n", failure.what());
      status = 1;
    }
    ::_exit(status);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) {
    throw std::runtime_error("cannot pin memory cgroups");
  }
  made_count_ += count;
  const base::Result<base::OwnedFd> filler = base::open_file(batch_filler, O_RDWR | O_CREAT, 0600);
  for (int i = 0; filler && i < batch_pages; ++i) {
    append_page(filler->get());
  }
}

void DyingMemcgs::make_and_remove(int file, int count) const {
  for (int i = 0; i < count; ++i) {
    const std::string child = fmt::format("{}/{}", cgroup_, made_count_ + i);
    fs::create_directory(child);
    enter(child);
    append_page(file);
    enter(original_cgroup_);
    if (::rmdir(child.c_str()) != 0) {
      throw std::runtime_error("cannot remove " + child);
    }
  }
}

std::string DyingMemcgs::charge_live(int file, int file_pages, int anonymous_pages) {
  const std::string live = cgroup_ + "/live";
  fs::create_directory(live);
  std::array<int, 2> ready{};
  if (::pipe2(ready.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("cannot make a pipe");
  }
  const base::OwnedFd reader(ready[0]);
  base::OwnedFd writer(ready[1]);
  live_process_ = ::fork();
  if (live_process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      enter(live);
      for (int i = 0; i < file_pages; ++i) {
        append_page(file);
      }
      const std::size_t length = std::size_t{4096} * static_cast<std::size_t>(anonymous_pages);
      void* const memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory != MAP_FAILED) {
        std::memset(memory, 1, length);
        static_cast<void>(::write(writer.get(), "y", 1));
      }
    } catch (const std::exception& failure) {
      fmt::print(stderr, "charging a memory cgroup: {}\n", failure.what());
    }
    while (true) {
      ::pause();
    }
  }
  writer = {};
  char answer = 0;
  if (live_process_ < 0 || ::read(reader.get(), &answer, 1) != 1) {
    throw std::runtime_error("cannot charge pages to a memory cgroup");
  }
  return live;
}

void DyingMemcgs::end_live() {
  if (live_process_ <= 0) {
    return;
  }
  ::kill(live_process_, SIGKILL);
  while (::waitpid(live_process_, nullptr, 0) < 0 && errno == EINTR) {
  }
  ::rmdir((cgroup_ + "/live").c_str());
}

std::int64_t DyingMemcgs::walked_count() const {
  struct stat status {};
  const base::Result<MemcgWalk> walk = walk_memcgs({});
  if (::stat(cgroup_.c_str(), &status) != 0 || !walk) {
    return 0;
  }
  const auto found = walk->dying_below.find(status.st_ino);
  return found == walk->dying_below.end() ? 0 : found->second;
}

}  // namespace stallscope::census
