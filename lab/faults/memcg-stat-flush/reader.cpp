// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/reader.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "lab/faults/memcg-stat-flush/flush_judge.h"
#include "lab/faults/memcg-stat-flush/flush_worker.h"
#include "lab/zombies.h"

namespace stallscope::lab::memcg_stat_flush {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

/// Maps and unmaps every page of the file: each goes up and down in the statistics of the cgroup it is charged to.
Status touch_pages(const OwnedFd& pins, int count) {
  const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t length_bytes = page_bytes * static_cast<std::size_t>(count);
  void* const mapped = ::mmap(nullptr, length_bytes, PROT_READ, MAP_SHARED, pins.get(), 0);
  if (mapped == MAP_FAILED) {
    return base::errno_error("map", "the file that pins the zombies", errno);
  }
  // MADV_POPULATE_READ is there from Linux 5.14 on (4ca9b3859dac).
  if (::madvise(mapped, length_bytes, MADV_POPULATE_READ) != 0) {
    const volatile char* const bytes = static_cast<const char*>(mapped);
    for (std::size_t offset = 0; offset < length_bytes; offset += page_bytes) {
      static_cast<void>(bytes[offset]);
    }
  }
  ::munmap(mapped, length_bytes);
  return base::ok();
}

/// One read of memory.stat. Times are of CLOCK_MONOTONIC.
struct StatRead {
  /// Around the first read(2), the one that flushes.
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
  /// From the first touch of a zombie's page to the end of the read: when the pending updates could be flushed.
  std::int64_t window_start_ns = 0;
};

/// While it lives no ordinary process runs instead of this one, so that on a busy machine the measured length is that of the
/// flush and not of the wait for a CPU after it. Held for a read only: during the touches it would keep ksoftirqd waiting.
class RealTime {
 public:
  RealTime() {
    const sched_param lowest{1};
    // Where it is not allowed the lengths are only less exact.
    static_cast<void>(::sched_setscheduler(0, SCHED_FIFO, &lowest));
  }
  ~RealTime() {
    const sched_param none{0};
    static_cast<void>(::sched_setscheduler(0, SCHED_OTHER, &none));
  }
  RealTime(const RealTime&) = delete;
  RealTime& operator=(const RealTime&) = delete;
  RealTime(RealTime&&) = delete;
  RealTime& operator=(RealTime&&) = delete;
};

/// Opens, reads to the end and closes, as a monitoring agent does.
Status read_stat(const std::string& path, StatRead& timing) {
  static std::array<char, 65536> buffer{};
  const Result<OwnedFd> file = base::open_file(path, O_RDONLY);
  if (!file) {
    return file.error();
  }
  const RealTime real_time;
  timing.start_ns = base::monotonic_ns();
  ssize_t got = ::read(file->get(), buffer.data(), buffer.size());
  timing.end_ns = base::monotonic_ns();
  while (got > 0) {
    got = ::read(file->get(), buffer.data(), buffer.size());
  }
  return got < 0 ? Status(base::errno_error("read", path, errno)) : base::ok();
}

class Reader {
 public:
  /// `worker` is empty where the kernel does not let its worker be watched.
  Reader(ReaderPlan plan, OwnedFd pins, std::optional<FlushWorkerWatch> worker)
      : plan_(std::move(plan)), pins_(std::move(pins)), worker_(std::move(worker)) {}

  /// An odd number of reads, so that one of them being the kernel worker's does not matter to the median.
  Status calibrate() {
    constexpr int rounds = 3;
    std::vector<std::int64_t> lengths_ns;
    for (int i = 0; i < rounds; ++i) {
      const Result<StatRead> timing = touch_and_read();
      if (!timing) {
        return timing.error();
      }
      lengths_ns.push_back(timing->end_ns - timing->start_ns);
    }
    judge_ = FlushJudge(std::move(lengths_ns));
    return base::ok();
  }

  Result<Turn> take_turn() {
    const std::optional<std::int64_t> runs_before = worker_runs();
    const Result<StatRead> timing = touch_and_read();
    if (!timing) {
      return timing.error();
    }
    const std::optional<std::int64_t> runs_after = worker_runs();
    const std::optional<bool> worker_ran = runs_before && runs_after ? std::optional(*runs_after > *runs_before) : std::nullopt;
    const FlushedBy by = plan_.healthy ? FlushedBy::reader : judge_.judge(timing->end_ns - timing->start_ns, worker_ran);
    Turn turn;
    turn.stalls.push_back({timing->start_ns,
                           timing->end_ns,
                           {{"flushed_by", by == FlushedBy::reader ? "reader" : "kernel-worker"},
                            {"window_start_ns", timing->window_start_ns},
                            {"window_end_ns", timing->end_ns}}});
    // The worker comes at a fixed interval too: once the two meet they would go on meeting, so step out of its phase.
    turn.shift_ns = by == FlushedBy::kernel_worker ? -plan_.period_ns / 2 : 0;
    return turn;
  }

 private:
  [[nodiscard]] Result<StatRead> touch_and_read() const {
    StatRead timing;
    timing.window_start_ns = base::monotonic_ns();
    if (!plan_.healthy) {
      if (Status touched = touch_pages(pins_, plan_.zombies_count); !touched) {
        return touched.error();
      }
    }
    if (Status read = read_stat(plan_.stat_path, timing); !read) {
      return read.error();
    }
    return timing;
  }

  [[nodiscard]] std::optional<std::int64_t> worker_runs() const {
    if (!worker_) {
      return std::nullopt;
    }
    const Result<std::int64_t> count = worker_->runs_count();
    return count ? std::optional(*count) : std::nullopt;
  }

  ReaderPlan plan_;
  OwnedFd pins_;
  std::optional<FlushWorkerWatch> worker_;
  FlushJudge judge_{{}};
};

}  // namespace

Result<PreparedCulprit> prepare_reader(const ReaderPlan& plan) {
  Result<OwnedFd> pins = base::open_file(plan.pin_path, O_RDONLY | O_NOFOLLOW);
  if (!pins) {
    return pins.error();
  }
  Result<FlushWorkerWatch> watch = FlushWorkerWatch::open();
  const bool watched = static_cast<bool>(watch);
  std::optional<FlushWorkerWatch> worker;
  if (watched) {
    worker.emplace(std::move(*watch));
  }
  const auto reader = std::make_shared<Reader>(plan, std::move(*pins), std::move(worker));
  if (Status calibrated = reader->calibrate(); !calibrated) {
    return calibrated.error();
  }
  return PreparedCulprit{[reader] { return reader->take_turn(); },
                         {{"kernel_total", plan.kernel_total_count}, {"flushed_by_is", watched ? "observed" : "inferred"}}};
}

Settings zombies_for(std::int64_t read_ns) {
  constexpr std::int64_t least_per_zombie_ns = base::ns_per_us;
  return {{"zombies", std::min<std::int64_t>(read_ns / least_per_zombie_ns, max_zombies_count)}};
}

}  // namespace stallscope::lab::memcg_stat_flush
