// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/slabinfo-read/fault.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "lab/culprit.h"

namespace stallscope::lab::slabinfo_read {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr const char* slabinfo = "/proc/slabinfo";

/// Covered by a tmpfs that only the culprit sees.
constexpr const char* directory = "/tmp";

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "files",
     .help = "Files made in a private tmpfs; all but each 16th are deleted, which leaves as many partial slabs",
     .default_value = 200'000,
     .minimum = 1,
     .maximum = 500'000,
     .reason_for_bounds = "Each takes about 1 KiB of kernel memory while they are made."},
}};

/// Where only this process sees it: it goes with the process.
Status mount_private_tmpfs() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", directory, "tmpfs", 0, "nr_inodes=1m") != 0) {
    return base::errno_error("mount", "a tmpfs of its own", errno);
  }
  return base::ok();
}

std::string file_path(std::int64_t index) {
  return fmt::format("{}/{}", directory, index);
}

/// A slab has about 20 inodes or dentries, so that one of 16 files keeps nearly every slab in use, and partial.
Status make_partial_slabs(std::int64_t files_count) {
  constexpr std::int64_t kept_of = 16;
  for (std::int64_t i = 0; i < files_count; ++i) {
    if (const Result<OwnedFd> made = base::open_file(file_path(i), O_CREAT | O_WRONLY, S_IRUSR); !made) {
      return made.error();
    }
  }
  for (std::int64_t i = 0; i < files_count; ++i) {
    if (i % kept_of != 0 && ::unlink(file_path(i).c_str()) != 0) {
      return base::errno_error("delete", file_path(i), errno);
    }
  }
  return base::ok();
}

Status read_whole(std::vector<char>& buffer) {
  const Result<OwnedFd> file = base::open_file(slabinfo, O_RDONLY);
  if (!file) {
    return file.error();
  }
  ssize_t got = 0;
  do {
    got = ::read(file->get(), buffer.data(), buffer.size());
  } while (got > 0);
  return got < 0 ? Status(base::errno_error("read", slabinfo, errno)) : base::ok();
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  if (Status mounted = mount_private_tmpfs(); !mounted) {
    return mounted.error();
  }
  if (!options.healthy) {
    if (Status made = make_partial_slabs(options.settings.value(parameters[0])); !made) {
      return made.error();
    }
  }
  constexpr std::size_t buffer_bytes = 65'536;
  const auto buffer = std::make_shared<std::vector<char>>(buffer_bytes);
  return PreparedCulprit{[buffer]() -> Result<Turn> {
    const std::int64_t start_ns = base::monotonic_ns();
    if (Status read = read_whole(*buffer); !read) {
      return read.error();
    }
    return Turn{{{.start_ns = start_ns, .end_ns = base::monotonic_ns()}}};
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-slabinfo", .syscall = "read", .file = slabinfo, .count_name = "reads"},
      [&] { return prepare(options); }, stop, output);
}

/// As many as are allowed: the reads never get long where the kernel bounds them.
Settings settings_for(std::int64_t length_ns) {
  constexpr std::int64_t per_file_ns = 20;
  return {{"files", std::clamp(length_ns / per_file_ns, parameters[0].minimum, parameters[0].default_value)}};
}

}  // namespace

constexpr Fault fault = {
    .id = "slabinfo-read",
    .summary = "reads of /proc/slabinfo count thousands of partial slabs (harmless from Linux 6.10 on)",
    .expected_rule = blames_nothing,
    .expected_mode = blames_nothing,
    .healthy_help = "the same reads, without the partial slabs",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::slabinfo_read
