// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/direct-reclaim/fault.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "lab/culprit.h"
#include "lab/culprit_cgroup.h"
#include "lab/memory_hierarchy.h"

namespace stallscope::lab::direct_reclaim {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::int64_t mib = 1'048'576;
/// On a file system with page cache of its own; /tmp and /run may be tmpfs, which has none to reclaim.
constexpr const char* file_directory = "/var/tmp";

constexpr std::array<Parameter, 2> parameters = {{
    {.name = "megabytes",
     .help = "MiB read each time; about 2 are read in a millisecond",
     .default_value = 200,
     .minimum = 1,
     .maximum = 4'096,
     .reason_for_bounds = "No more of it stays in memory than the limit allows, but reading takes its time."},
    {.name = "limit",
     .help = "Memory limit of the process's cgroup in MiB",
     .default_value = 32,
     .minimum = 16,
     .maximum = 1'024,
     .reason_for_bounds = "With less the process itself would not fit."},
}};

Result<OwnedFd> make_sparse_file(std::int64_t size_bytes) {
  // Without a name: it goes with the process. A hole takes page cache like any data, and no disk.
  Result<OwnedFd> file = base::open_file(file_directory, O_TMPFILE | O_RDWR, S_IRUSR | S_IWUSR);
  if (file && ::ftruncate(file->get(), size_bytes) != 0) {
    return base::errno_error("make a sparse file in", file_directory, errno);
  }
  return file;
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  constexpr std::int64_t chunk_bytes = mib;
  // With --healthy it reads the same amount, but of a part that fits below the limit.
  const std::int64_t size_bytes = options.settings.value(parameters[0]) * mib;
  const std::int64_t distinct_bytes =
      options.healthy ? std::min(size_bytes, options.settings.value(parameters[1]) * mib / 4) : 2 * size_bytes;
  Result<OwnedFd> made = make_sparse_file(distinct_bytes);
  if (!made) {
    return made.error();
  }
  const auto file = std::make_shared<OwnedFd>(std::move(*made));
  const auto buffer = std::make_shared<std::vector<char>>(static_cast<std::size_t>(chunk_bytes));
  const auto offset_bytes = std::make_shared<std::int64_t>(0);
  return PreparedCulprit{[=]() -> Result<Turn> {
    const std::int64_t start_ns = base::monotonic_ns();
    for (std::int64_t done_bytes = 0; done_bytes < size_bytes; done_bytes += chunk_bytes) {
      if (::pread(file->get(), buffer->data(), buffer->size(), *offset_bytes) < 0) {
        return base::errno_error("read a file in", file_directory, errno);
      }
      *offset_bytes = (*offset_bytes + chunk_bytes) % distinct_bytes;
    }
    return Turn{{{.start_ns = start_ns, .end_ns = base::monotonic_ns()}}};
  }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  Result<CulpritCgroup> cgroup = CulpritCgroup::make();
  if (!cgroup) {
    return cgroup.error();
  }
  const Result<MemoryHierarchy> hierarchy = find_memory_hierarchy();
  if (!hierarchy) {
    return hierarchy.error();
  }
  if (hierarchy->version == CgroupVersion::v2) {
    if (Status given = base::write_file(hierarchy->lab_cgroup() + "/cgroup.subtree_control", "+memory"); !given) {
      return given;
    }
  }
  const std::string limit_file =
      cgroup->path() + (hierarchy->version == CgroupVersion::v1 ? "/memory.limit_in_bytes" : "/memory.max");
  if (Status limited = base::write_file(limit_file, fmt::format("{}", options.settings.value(parameters[1]) * mib)); !limited) {
    return limited;
  }
  Status ran = run_culprit(
      {.fault = fault, .options = options, .comm = "lab-reclaimer", .syscall = "pread64", .cgroup_path = cgroup->path()},
      [&] { return prepare(options); }, stop, output);
  Status removed = cgroup->remove();
  return ran ? removed : ran;
}

/// About 2 MiB are read in a millisecond.
Settings settings_for(std::int64_t length_ns) {
  constexpr std::int64_t per_ms = 2;
  return {{"megabytes", length_ns / base::ns_per_ms * per_ms}};
}

}  // namespace

constexpr Fault fault = {
    .id = "direct-reclaim",
    .summary = "reads at a cgroup's memory limit reclaim page cache in each of them (stalls nothing)",
    .expected_rule = blames_nothing,
    .expected_mode = blames_nothing,
    .healthy_help = "the same amount read, of what fits below the limit",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::direct_reclaim
