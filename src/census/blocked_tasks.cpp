// SPDX-License-Identifier: Apache-2.0
#include "census/blocked_tasks.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/files.h"
#include "base/numbers.h"
#include "base/text.h"

namespace stallscope::census {
namespace {

using base::Result;
using std::filesystem::directory_iterator;

/// What /proc/PID/stat says, as far as it is needed here.
struct ThreadStat {
  std::string comm;
  char state = '?';
  std::uint64_t start_ticks = 0;
};

/// "42 (name) D 1 ...": the name may hold anything, parentheses and spaces too.
std::optional<ThreadStat> parse_stat(std::string_view text) {
  // Counted from the state, which is the third field of proc(5).
  constexpr std::size_t start_field = 19;
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return std::nullopt;
  }
  while (text.ends_with('\n')) {
    text.remove_suffix(1);
  }
  const std::vector<std::string_view> fields = base::split_fields(text.substr(close + 1));
  if (fields.size() <= start_field || fields.front().size() != 1) {
    return std::nullopt;
  }
  const std::optional<std::uint64_t> start_ticks = base::parse_number<std::uint64_t>(fields[start_field]);
  if (!start_ticks) {
    return std::nullopt;
  }
  return ThreadStat{std::string(text.substr(open + 1, close - open - 1)), fields.front().front(), *start_ticks};
}

/// The sum of both kinds of switches in /proc/PID/status.
std::optional<std::uint64_t> parse_switches(std::string_view text) {
  constexpr std::uint64_t kinds = 2;
  std::uint64_t found = 0;
  std::uint64_t sum = 0;
  for (const std::string_view line : base::split(text, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() == 2 && fields.front().ends_with("voluntary_ctxt_switches:")) {
      const std::optional<std::uint64_t> count = base::parse_number<std::uint64_t>(fields.back());
      found += count ? 1U : 0U;
      sum += count.value_or(0);
    }
  }
  return found == kinds ? std::optional(sum) : std::nullopt;
}

std::optional<BlockedThread> read_thread(const std::string& directory, std::int32_t tgid, std::int32_t pid) {
  const Result<std::string> text = base::read_file(directory + "/stat");
  const std::optional<ThreadStat> stat = text ? parse_stat(*text) : std::nullopt;
  if (!stat || stat->state != 'D') {
    return std::nullopt;
  }
  const Result<std::string> status = base::read_file(directory + "/status");
  const std::optional<std::uint64_t> switches = status ? parse_switches(*status) : std::nullopt;
  if (!switches) {
    return std::nullopt;
  }
  const Result<std::string> function = base::read_file(directory + "/wchan");
  // "0": it runs by now, or the caller may not know.
  const bool known = function && !function->empty() && *function != "0";
  return BlockedThread{pid, tgid, stat->comm, known ? *function : std::string{}, stat->start_ticks, *switches};
}

/// The number a directory of /proc is named by.
std::optional<std::int32_t> number_of(const std::filesystem::path& directory) {
  return base::parse_number<std::int32_t>(directory.filename().string());
}

/// Steps over entries that go away, as processes do.
template <typename Visit>
void for_each_number(const std::string& directory, std::error_code& error, Visit visit) {
  for (directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    if (const std::optional<std::int32_t> number = number_of(entry->path())) {
      visit(*number, entry->path().string());
    }
  }
}

}  // namespace

Result<BlockedThreads> read_blocked_threads(const std::string& root) {
  BlockedThreads found;
  found.taken_ns = base::monotonic_ns();
  std::error_code error;
  for_each_number(root + "/proc", error, [&](std::int32_t tgid, const std::string& process) {
    std::error_code process_ended;
    for_each_number(process + "/task", process_ended, [&](std::int32_t pid, const std::string& directory) {
      if (std::optional<BlockedThread> thread = read_thread(directory, tgid, pid)) {
        found.threads.push_back(*std::move(thread));
      }
    });
  });
  if (error) {
    return base::errno_error("list", root + "/proc", error.value());
  }
  return found;
}

std::vector<evidence::BlockedTaskRecord> blocked_throughout(const BlockedThreads& before, const BlockedThreads& after) {
  std::vector<evidence::BlockedTaskRecord> blocked;
  for (const BlockedThread& now : after.threads) {
    const bool was = std::any_of(before.threads.begin(), before.threads.end(), [&](const BlockedThread& then) {
      return then.pid == now.pid && then.start_ticks == now.start_ticks && then.switch_count == now.switch_count;
    });
    if (was) {
      blocked.push_back({now.pid, now.tgid, now.comm, now.waits_in, after.taken_ns - before.taken_ns});
    }
  }
  return blocked;
}

std::vector<evidence::SettingRecord> read_hung_task_settings(const std::string& root) {
  constexpr std::array<std::string_view, 2> names = {"hung_task_timeout_secs", "hung_task_panic"};
  std::vector<evidence::SettingRecord> settings;
  for (const std::string_view name : names) {
    const Result<std::string> text = base::read_file(root + "/proc/sys/kernel/" + std::string(name));
    if (!text) {
      continue;
    }
    const std::vector<std::string_view> lines = base::split(*text, '\n');
    if (const std::optional<std::int64_t> value = base::parse_number<std::int64_t>(lines.front())) {
      settings.push_back({"kernel." + std::string(name), *value});
    }
  }
  return settings;
}

}  // namespace stallscope::census
