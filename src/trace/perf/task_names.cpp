// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/task_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "base/numbers.h"
#include "base/text.h"
#include "evidence/records.h"

namespace stallscope::trace::perf {
namespace {

/// include/linux/sched.h, PF_KTHREAD; unchanged since 2.6.27.
constexpr std::uint64_t kernel_thread_flag = 0x00200000;
/// Of /proc/PID/stat, counted from the state that follows the name.
constexpr std::size_t flags_field = 6;
/// The names of tasks that have ended are kept for so many, then for none: bounds memory on a node that starts many.
constexpr std::size_t renamed_limit = 16384;

/// As the BPF programs send a path: its names, innermost first, each ended by NUL.
std::uint32_t write_path(std::string_view path, char (&names)[TRACE_PATH_BYTES]) {
  std::vector<std::string_view> parts = base::split(path, '/');
  std::reverse(parts.begin(), parts.end());
  std::size_t size_bytes = 0;
  for (const std::string_view part : parts) {
    if (part.empty() || size_bytes >= TRACE_PATH_LIMIT) {
      continue;
    }
    const std::string_view name = part.substr(0, TRACE_NAME_BYTES - 1);
    name.copy(names + size_bytes, name.size());
    size_bytes += name.size();
    names[size_bytes++] = '\0';
  }
  return static_cast<std::uint32_t>(size_bytes);
}

}  // namespace

std::string memory_cgroup_of(std::string_view text) {
  constexpr std::string_view removed_mark = " (deleted)";
  std::string_view unified;
  for (const std::string_view line : base::split(text, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) {
      continue;
    }
    std::string_view path = line.substr(second + 1);
    if (path.ends_with(removed_mark)) {
      path.remove_suffix(removed_mark.size());
    }
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::vector<std::string_view> names = base::split(controllers, ',');
    if (std::find(names.begin(), names.end(), "memory") != names.end()) {
      return std::string(path);
    }
    if (controllers.empty()) {
      unified = path;
    }
  }
  return std::string(unified);
}

TaskNames::Names TaskNames::read(std::int32_t tid) const {
  Names names;
  const std::string directory = fmt::format("/proc/{}", tid);
  // "12 (a name) S 1 ...": the name may contain anything.
  const std::optional<std::string> stat = files_.read_line(directory + "/stat");
  const std::size_t name_end = stat ? stat->rfind(')') : std::string::npos;
  const std::size_t name_start = stat ? stat->find('(') : std::string::npos;
  if (name_end == std::string::npos || name_start > name_end) {
    const auto renamed = renamed_.find(tid);
    names.comm = renamed == renamed_.end() ? std::string() : renamed->second;
    return names;
  }
  names.comm = stat->substr(name_start + 1, name_end - name_start - 1);
  const std::vector<std::string_view> fields = base::split_fields(std::string_view(*stat).substr(name_end + 1));
  if (fields.size() > flags_field) {
    const std::uint64_t flags = base::parse_number<std::uint64_t>(fields[flags_field]).value_or(0);
    names.kernel_thread = (flags & kernel_thread_flag) != 0;
  }
  if (const base::Result<std::string> cgroup = files_.read(directory + "/cgroup"); cgroup) {
    names.cgroup = memory_cgroup_of(*cgroup);
    names.cgroup_known = !names.cgroup.empty();
  }
  return names;
}

void TaskNames::describe(trace_task& task, std::uint32_t cpu) {
  if ((task.flags & TRACE_TASK_EXITING) != 0U) {
    task.flags |= TRACE_TASK_CGROUP_UNKNOWN;
    evidence::Occupant::exiting_comm.copy(task.comm, sizeof(task.comm) - 1);
    return;
  }
  Names idle{fmt::format("swapper/{}", cpu), "/", true, true};
  auto known = read_.find(task.pid);
  if (task.pid != 0 && known == read_.end()) {
    known = read_.emplace(task.pid, read(task.pid)).first;
  }
  const Names& names = task.pid == 0 ? idle : known->second;
  names.comm.copy(task.comm, sizeof(task.comm) - 1);
  if (names.kernel_thread) {
    task.flags |= TRACE_TASK_KERNEL_THREAD;
  }
  if (!names.cgroup_known) {
    task.flags |= TRACE_TASK_CGROUP_UNKNOWN;
  }
  task.cgroup_bytes = write_path(names.cgroup, task.cgroup);
}

void TaskNames::renamed(std::int32_t tid, const std::string& comm) {
  if (renamed_.size() >= renamed_limit) {
    renamed_.clear();
  }
  renamed_[tid] = comm;
}

}  // namespace stallscope::trace::perf
