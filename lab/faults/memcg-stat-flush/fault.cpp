// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/fault.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/units.h"
#include "lab/child_process.h"
#include "lab/faults/memcg-stat-flush/ground_truth.h"
#include "lab/faults/memcg-stat-flush/reader.h"
#include "lab/memory_hierarchy.h"
#include "lab/mounts.h"
#include "lab/pin_file.h"
#include "lab/zombies.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

struct Places {
  MemoryHierarchy hierarchy;
  std::string pin_path;
};

Result<Places> find_places() {
  const Result<MemoryHierarchy> hierarchy = find_memory_hierarchy();
  if (!hierarchy) {
    return hierarchy.error();
  }
  const Result<std::vector<Mount>> mounts = read_mounts();
  if (!mounts) {
    return mounts.error();
  }
  const Result<std::string> pin_path = choose_pin_path(*mounts);
  if (!pin_path) {
    return pin_path.error();
  }
  return Places{*hierarchy, *pin_path};
}

/// Zombies that did not stay make a shorter stall than was asked for, so that the ground truth would be wrong.
Result<std::int64_t> count_after_making(const MemoryHierarchy& hierarchy, std::int64_t before_count, int zombies_count) {
  const Result<std::int64_t> total = count_memory_cgroups(hierarchy);
  if (!total) {
    return total.error();
  }
  const std::int64_t stayed_count = *total - before_count;
  if (stayed_count < static_cast<std::int64_t>(zombies_count) * 99 / 100) {
    return Error{
        "make zombies", "",
        fmt::format("the kernel kept {} of {}: the pages of the tmpfs are not charged one by one", stayed_count, zombies_count),
        "Mount the tmpfs without huge pages (huge=never)."};
  }
  return *total;
}

/// Waits for room first, so that a reader of the ground truth that has stopped reading cannot hold up the end of the lab.
Status write_line(int fd, std::string line, StopSignals& stop) {
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {
    if (!stop.wait_writable(fd)) {
      return Error{"write", "the ground truth", "nobody reads it", ""};
    }
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written < 0 && errno != EINTR && errno != EAGAIN) {
      return base::errno_error("write", "the ground truth", errno);
    }
    rest.remove_prefix(written > 0 ? static_cast<std::size_t>(written) : 0);
  }
  return base::ok();
}

/// Passes the reader's lines on. A stop is passed to the reader, which reports the read it may be in before it ends.
Status relay(ChildProcess& reader, StopSignals& stop, int ground_truth_fd) {
  constexpr std::int64_t stop_bound_ns = 5 * base::ns_per_s;
  std::int64_t deadline_ns = ChildProcess::no_deadline;
  std::int64_t lines_count = 0;
  bool stopping = false;
  std::string line;
  while (true) {
    switch (reader.next_line(line, stopping ? -1 : stop.fd(), deadline_ns)) {
      case ChildProcess::Event::line:
        ++lines_count;
        if (Status written = write_line(ground_truth_fd, line, stop); !written) {
          return written;
        }
        break;
      case ChildProcess::Event::woken:
        stopping = stop.requested();
        reader.ask_to_stop();
        deadline_ns = base::monotonic_ns() + stop_bound_ns;
        break;
      case ChildProcess::Event::timeout:
        return Error{"stop", reader_comm, "it did not end in time", ""};
      case ChildProcess::Event::ended:
        if (Status finished = reader.finish(); !finished) {
          return finished;
        }
        // The first line is the ready line.
        return write_line(ground_truth_fd, end_line(lines_count > 0 ? lines_count - 1 : 0), stop);
    }
  }
}

Status run_reader_process(const ReaderPlan& plan, StopSignals& stop, const RunOutput& output) {
  Result<ChildProcess> reader =
      ChildProcess::start(reader_comm, [&](const ReportPipe& reports) { return run_reader(plan, reports); });
  if (!reader) {
    return reader.error();
  }
  return relay(*reader, stop, output.ground_truth_fd);
}

void tell_removal(const ZombieRemoval& removal, const Progress& progress) {
  if (removal.lingering_count > 0) {
    progress(fmt::format("removed the zombies, but the kernel still counts {} memory cgroups more than before",
                         base::format_count(removal.lingering_count)));
  } else if (removal.found) {
    progress(fmt::format("removed {} zombies; the kernel's count is back", base::format_count(removal.zombies_count)));
  }
}

}  // namespace

Status run_memcg_stat_flush(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  const Result<Places> places = find_places();
  if (!places) {
    return places.error();
  }
  const MemoryHierarchy& hierarchy = places->hierarchy;
  const Result<std::int64_t> before = count_memory_cgroups(hierarchy);
  if (!before) {
    return before.error();
  }
  const std::int64_t start_ns = base::monotonic_ns();
  Result<ZombieSet> zombies = ZombieSet::make(hierarchy, places->pin_path, options.zombies_count, stop, output.progress);
  if (!zombies) {
    return zombies.error();
  }
  output.progress(fmt::format("made {} zombies in {}", base::format_count(options.zombies_count),
                              base::format_duration(base::monotonic_ns() - start_ns)));
  const Result<std::int64_t> total = count_after_making(hierarchy, *before, options.zombies_count);
  if (!total) {
    return total.error();
  }
  const ReaderPlan plan{.cgroup_path = hierarchy.reader_cgroup(),
                        .stat_path = hierarchy.lab_cgroup() + "/memory.stat",
                        .pin_path = places->pin_path,
                        .zombies_count = options.zombies_count,
                        .kernel_total_count = *total,
                        .cpu = options.cpu,
                        .period_ns = options.period_ns,
                        .duration_ns = options.duration_ns,
                        .healthy = options.healthy};
  Status ran = run_reader_process(plan, stop, output);
  const Result<ZombieRemoval> removal = zombies->remove();
  if (!ran) {
    return ran;
  }
  if (!removal) {
    return removal.error();
  }
  tell_removal(*removal, output.progress);
  return base::ok();
}

Result<bool> remove_memcg_stat_flush(const Progress& progress) {
  const Result<Places> places = find_places();
  if (!places) {
    return places.error();
  }
  const Result<ZombieRemoval> removal = remove_zombies(places->hierarchy, places->pin_path);
  if (!removal) {
    return removal.error();
  }
  tell_removal(*removal, progress);
  return removal->found;
}

}  // namespace stallscope::lab
