// SPDX-License-Identifier: Apache-2.0
#include "diagnose/syscalls.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace stallscope::diagnose {
namespace {

enum class FirstArgument : std::uint8_t { other, descriptor };

struct SystemCall {
  std::int32_t number;
  std::string_view name;
  FirstArgument first_argument;
};

constexpr auto fd = FirstArgument::descriptor;
constexpr auto other = FirstArgument::other;

// By number. Those that take a descriptor, and those that are known to keep a CPU busy or to be where tasks are found.
constexpr std::array<SystemCall, 86> system_calls = {{
    {0, "read", fd},
    {1, "write", fd},
    {2, "open", other},
    {3, "close", fd},
    {4, "stat", other},
    {5, "fstat", fd},
    {7, "poll", other},
    {8, "lseek", fd},
    {9, "mmap", other},
    {10, "mprotect", other},
    {11, "munmap", other},
    {12, "brk", other},
    {16, "ioctl", fd},
    {17, "pread64", fd},
    {18, "pwrite64", fd},
    {19, "readv", fd},
    {20, "writev", fd},
    {23, "select", other},
    {24, "sched_yield", other},
    {25, "mremap", other},
    {26, "msync", other},
    {28, "madvise", other},
    {35, "nanosleep", other},
    {40, "sendfile", fd},
    {41, "socket", other},
    {42, "connect", fd},
    {43, "accept", fd},
    {44, "sendto", fd},
    {45, "recvfrom", fd},
    {46, "sendmsg", fd},
    {47, "recvmsg", fd},
    {48, "shutdown", fd},
    {49, "bind", fd},
    {50, "listen", fd},
    {54, "setsockopt", fd},
    {55, "getsockopt", fd},
    {56, "clone", other},
    {57, "fork", other},
    {58, "vfork", other},
    {59, "execve", other},
    {60, "exit", other},
    {61, "wait4", other},
    {72, "fcntl", fd},
    {73, "flock", fd},
    {74, "fsync", fd},
    {75, "fdatasync", fd},
    {77, "ftruncate", fd},
    {78, "getdents", fd},
    {80, "chdir", other},
    {82, "rename", other},
    {83, "mkdir", other},
    {84, "rmdir", other},
    {87, "unlink", other},
    {162, "sync", other},
    {165, "mount", other},
    {166, "umount2", other},
    {187, "readahead", fd},
    {202, "futex", other},
    {217, "getdents64", fd},
    {221, "fadvise64", fd},
    {230, "clock_nanosleep", other},
    {231, "exit_group", other},
    {232, "epoll_wait", fd},
    {233, "epoll_ctl", fd},
    {254, "inotify_add_watch", fd},
    {257, "openat", fd},
    {258, "mkdirat", fd},
    {262, "newfstatat", fd},
    {263, "unlinkat", fd},
    {272, "unshare", other},
    {275, "splice", fd},
    {277, "sync_file_range", fd},
    {281, "epoll_pwait", fd},
    {285, "fallocate", fd},
    {288, "accept4", fd},
    {295, "preadv", fd},
    {296, "pwritev", fd},
    {298, "perf_event_open", other},
    {299, "recvmmsg", fd},
    {307, "sendmmsg", fd},
    {321, "bpf", other},
    {326, "copy_file_range", fd},
    {327, "preadv2", fd},
    {328, "pwritev2", fd},
    {426, "io_uring_enter", fd},
    {435, "clone3", other},
}};
static_assert(std::is_sorted(system_calls.begin(), system_calls.end(),
                             [](const SystemCall& a, const SystemCall& b) { return a.number < b.number; }));

const SystemCall* find(std::int32_t number) {
  const auto* const found = std::lower_bound(system_calls.begin(), system_calls.end(), number,
                                             [](const SystemCall& call, std::int32_t wanted) { return call.number < wanted; });
  return found != system_calls.end() && found->number == number ? found : nullptr;
}

}  // namespace

std::string syscall_name(std::int32_t number) {
  const SystemCall* const call = find(number);
  return call != nullptr ? std::string(call->name) : fmt::format("syscall {}", number);
}

bool syscall_takes_descriptor(std::int32_t number) {
  const SystemCall* const call = find(number);
  return call != nullptr && call->first_argument == FirstArgument::descriptor;
}

bool syscall_reads_file(std::int32_t number) {
  constexpr std::array<std::int32_t, 5> reads = {0, 17, 19, 295, 327};
  return std::find(reads.begin(), reads.end(), number) != reads.end();
}

}  // namespace stallscope::diagnose
