// SPDX-License-Identifier: Apache-2.0
#include "lab/zombies.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "lab/cgroup_directory.h"
#include "lab/child_process.h"
#include "lab/wait_for.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

std::string zombie_name(std::int64_t index) {
  return fmt::format("z{}", index);
}

std::optional<std::int64_t> zombie_index(std::string_view name) {
  std::int64_t index = 0;
  const char* end = name.data() + name.size();
  if (name.empty() || name.front() != 'z') {
    return std::nullopt;
  }
  const auto [parsed_to, error] = std::from_chars(name.data() + 1, end, index);
  return error == std::errc{} && parsed_to == end ? std::optional(index) : std::nullopt;
}

constexpr int report_every = 1000;

/// The maker's process hops from one cgroup into the next, leaving a pin behind in each, and removes the one it has left. It
/// never stands in the lab's own cgroup, where v2 allows no process once the controller is given to the children.
Status make_in_child(const MemoryHierarchy& hierarchy, const Pins& pins, int count, ZombieSet::Directories directories,
                     const ReportPipe& reports) {
  // On one CPU: its batches of pages not yet on an LRU list, which hold the pages too, are emptied when the process ends there.
  cpu_set_t one_cpu;
  CPU_ZERO(&one_cpu);
  CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one_cpu);
  ::sched_setaffinity(0, sizeof one_cpu, &one_cpu);
  std::string previous;
  for (int i = 0; i < count; ++i) {
    const std::string zombie = hierarchy.lab_cgroup() + "/" + zombie_name(i);
    if (Status made = make_cgroup(zombie); !made) {
      return made;
    }
    if (Status joined = base::write_file(zombie + "/cgroup.procs", "0"); !joined) {
      return joined;
    }
    if (Status charged = pins.charge(i); !charged) {
      return charged;
    }
    if (directories == ZombieSet::Directories::remove && !previous.empty() && ::rmdir(previous.c_str()) != 0) {
      return base::errno_error("remove cgroup", previous, errno);
    }
    previous = zombie;
    if ((i + 1) % report_every == 0) {
      if (Status sent = reports.send(fmt::format("{}", i + 1)); !sent) {
        return sent;
      }
    }
  }
  return pins.settle();
}

Status watch_maker(ChildProcess& maker, int count, StopSignals& stop, const Progress& progress) {
  constexpr int lines_per_progress = 10;
  std::string line;
  int lines = 0;
  while (true) {
    switch (maker.next_line(line, stop.fd())) {
      case ChildProcess::Event::line:
        if (++lines % lines_per_progress == 0) {
          progress(fmt::format("made {} of {} zombies", line, count));
        }
        break;
      case ChildProcess::Event::ended:
        return maker.finish();
      case ChildProcess::Event::woken:
        if (stop.requested()) {
          return Error{"make zombies", "", "stopped by a signal", ""};
        }
        break;
      case ChildProcess::Event::timeout:
        break;
    }
  }
}

/// Removes the live cgroups below the lab's: the reader's, and zombies-to-be of a killed maker. Anything that is not of the lab
/// stays, and makes removing the lab's cgroup fail. Says how many of them no page of the file pins.
Result<std::int64_t> remove_live_cgroups(const MemoryHierarchy& hierarchy, PinKind kind, std::int64_t pages_count) {
  std::int64_t unpinned_count = 0;
  std::vector<std::string> names;
  std::error_code error;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(hierarchy.lab_cgroup(), error)) {
    if (entry.is_directory(error)) {
      names.push_back(entry.path().filename().string());
    }
  }
  for (const std::string& name : names) {
    const std::optional<std::int64_t> index = zombie_index(name);
    const std::string path = hierarchy.lab_cgroup() + "/" + name;
    if (!index && path != hierarchy.reader_cgroup()) {
      continue;
    }
    const bool pinned = index && (*index < pages_count || kind == PinKind::dentries);
    if (hierarchy.version == CgroupVersion::v1 && !pinned) {
      // Pages of programs that were first read on its behalf would keep the reader's cgroup as one more zombie. Only v1 can be
      // asked to let go of a cgroup's pages as a whole; where that fails the wait below reports it.
      static_cast<void>(base::write_file(path + "/memory.force_empty", "0"));
    }
    if (Status gone = remove_cgroup(path); !gone) {
      return gone.error();
    }
    if (!index || *index >= pages_count) {
      ++unpinned_count;
    }
  }
  return unpinned_count;
}

/// Waits until the kernel counts at most `target_count` memory cgroups, and says how many it still counts above that.
Result<std::int64_t> wait_for_count(const MemoryHierarchy& hierarchy, std::int64_t target_count, std::int64_t bound_ns) {
  Result<std::int64_t> count = target_count;
  wait_for(bound_ns, [&] {
    count = count_memory_cgroups(hierarchy);
    return !count || *count <= target_count;
  });
  if (!count) {
    return count.error();
  }
  return std::max<std::int64_t>(*count - target_count, 0);
}

/// Cuts a file from its end; `before_count` is the kernel's count while all pages are there.
Status release_pages(const MemoryHierarchy& hierarchy, const Pins& pins, std::int64_t before_count) {
  constexpr std::int64_t step_pages = 500;
  constexpr std::int64_t step_bound_ns = base::ns_per_s;
  // Pages in the batches of other CPUs, and cgroups made by others, must not hold up every step.
  constexpr std::int64_t tolerated_count = 100;
  for (std::int64_t expected_count = before_count;;) {
    const Result<std::optional<std::int64_t>> released = pins.release(step_pages);
    if (!released) {
      return released.error();
    }
    if (!*released) {
      return base::ok();
    }
    expected_count -= **released;
    const Result<std::int64_t> above = wait_for_count(hierarchy, expected_count + tolerated_count, step_bound_ns);
    if (!above) {
      return above.error();
    }
  }
}

}  // namespace

Result<ZombieRemoval> remove_zombies(const MemoryHierarchy& hierarchy, const PinPlace& place) {
  constexpr std::int64_t final_bound_ns = 15 * base::ns_per_s;
  const Result<std::optional<Pins>> pins = Pins::open(place);
  if (!pins) {
    return pins.error();
  }
  const bool has_cgroup = ::access(hierarchy.lab_cgroup().c_str(), F_OK) == 0;
  if (!*pins && !has_cgroup) {
    return ZombieRemoval{};
  }
  const Result<std::int64_t> pages = *pins ? (*pins)->count() : Result<std::int64_t>(std::int64_t{0});
  const Result<std::int64_t> before = count_memory_cgroups(hierarchy);
  if (!pages || !before) {
    return pages ? before.error() : pages.error();
  }
  const Result<std::int64_t> unpinned = remove_live_cgroups(hierarchy, place.kind, *pages);
  if (!unpinned) {
    return unpinned.error();
  }
  std::int64_t expected_count = *before - *unpinned - *pages;
  if (*pins) {
    if (Status released = release_pages(hierarchy, **pins, *before - *unpinned); !released) {
      return released.error();
    }
    if (Status removed = (*pins)->remove(); !removed) {
      return removed.error();
    }
  }
  if (has_cgroup) {
    // Also empties the kernel's caches of charges for everything below it (drain_all_stock, mm/memcontrol.c).
    if (Status gone = remove_cgroup(hierarchy.lab_cgroup()); !gone) {
      return gone.error();
    }
    --expected_count;
  }
  const Result<std::int64_t> lingering = wait_for_count(hierarchy, expected_count, final_bound_ns);
  if (!lingering) {
    return lingering.error();
  }
  return ZombieRemoval{true, *pages, *lingering};
}

Result<ZombieSet> ZombieSet::make(const MemoryHierarchy& hierarchy, const PinPlace& place, int count, Directories directories,
                                  StopSignals& stop, const Progress& progress) {
  ZombieSet zombies(hierarchy, place, count);
  const Result<Pins> pins = Pins::create(place);
  if (!pins) {
    // Somebody else's file: there is nothing of ours to remove.
    zombies.owned_ = false;
    return pins.error();
  }
  if (Status made = make_cgroup(hierarchy.lab_cgroup()); !made) {
    return made.error();
  }
  if (hierarchy.version == CgroupVersion::v2) {
    if (Status given = base::write_file(hierarchy.lab_cgroup() + "/cgroup.subtree_control", "+memory"); !given) {
      return given.error();
    }
  }
  if (Status made = make_cgroup(hierarchy.reader_cgroup()); !made) {
    return made.error();
  }
  {
    Result<ChildProcess> maker = ChildProcess::start(
        "lab-maker", [&](const ReportPipe& reports) { return make_in_child(hierarchy, *pins, count, directories, reports); });
    if (!maker) {
      return maker.error();
    }
    if (Status made = watch_maker(*maker, count, stop, progress); !made) {
      return made.error();
    }
  }
  if (directories == Directories::remove) {
    if (Status gone = remove_cgroup(hierarchy.lab_cgroup() + "/" + zombie_name(count - 1)); !gone) {
      return gone.error();
    }
  }
  // Flushes what making them left pending, so that the next read has nothing to do.
  const Result<std::string> flushed = base::read_file(hierarchy.lab_cgroup() + "/memory.stat");
  if (!flushed) {
    return flushed.error();
  }
  return zombies;
}

ZombieSet::ZombieSet(ZombieSet&& other) noexcept
    : hierarchy_(std::move(other.hierarchy_)),
      place_(std::move(other.place_)),
      count_(other.count_),
      owned_(std::exchange(other.owned_, false)) {}

ZombieSet::~ZombieSet() {
  try {
    static_cast<void>(remove());
  } catch (...) {
    // Want of memory. What this cannot remove, the next lab or `down` finds under the same names and removes or reports.
    return;
  }
}

Status ZombieSet::remove_directories(StopSignals& stop, const Progress& progress) const {
  constexpr int told_every = 10 * report_every;
  for (int i = 0; i < count_; ++i) {
    if (Status gone = remove_cgroup(hierarchy_.lab_cgroup() + "/" + zombie_name(i)); !gone) {
      return gone;
    }
    if (i % report_every == 0 && stop.requested()) {
      return Error{"remove cgroups", "", "stopped by a signal", ""};
    }
    if ((i + 1) % told_every == 0) {
      progress(fmt::format("removed {} of {} cgroups", i + 1, count_));
    }
  }
  return base::ok();
}

Result<ZombieRemoval> ZombieSet::remove() {
  if (!std::exchange(owned_, false)) {
    return ZombieRemoval{};
  }
  return remove_zombies(hierarchy_, place_);
}

}  // namespace stallscope::lab
