// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/memcg-stat-flush/reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "lab/faults/memcg-stat-flush/flush_worker.h"
#include "lab/faults/memcg-stat-flush/ground_truth.h"
#include "lab/stop_signals.h"

namespace stallscope::lab {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

Status pin_to_cpu(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<unsigned>(cpu), &cpus);
  if (::sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
    return base::errno_error("run the reader on", fmt::format("CPU {}", cpu), errno);
  }
  return base::ok();
}

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
  /// `worker` is null where the kernel does not let its worker be watched.
  Reader(const ReaderPlan& plan, OwnedFd pins, const FlushWorkerWatch* worker)
      : plan_(plan), pins_(std::move(pins)), worker_(worker) {}

  Result<StatRead> touch_and_read() {
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
    timing.window_end_ns = timing.end_ns;
    return timing;
  }

  /// An odd number, so that one of them being the kernel worker's does not matter to the median.
  Result<std::vector<std::int64_t>> calibrate() {
    constexpr int rounds = 3;
    std::vector<std::int64_t> lengths_ns;
    for (int i = 0; i < rounds; ++i) {
      const Result<StatRead> timing = touch_and_read();
      if (!timing) {
        return timing.error();
      }
      lengths_ns.push_back(timing->end_ns - timing->start_ns);
    }
    return lengths_ns;
  }

  Status run(FlushJudge judge, StopSignals& stop, const ReportPipe& reports) {
    const ReaderIdentity identity{::getpid(), plan_.cpu, plan_.stat_path};
    if (Status sent = reports.send(ready_line(identity, plan_.zombies_count, plan_.kernel_total_count, worker_ != nullptr));
        !sent) {
      return sent;
    }
    const std::int64_t end_ns = base::monotonic_ns() + plan_.duration_ns;
    // Half a period's head start for whoever waits for the ready line.
    std::int64_t next_ns = base::monotonic_ns() + plan_.period_ns / 2;
    while (next_ns < end_ns) {
      if (stop.wait_until(next_ns)) {
        return base::ok();
      }
      const std::optional<std::int64_t> runs_before = worker_runs();
      const Result<StatRead> timing = touch_and_read();
      if (!timing) {
        return timing.error();
      }
      const std::optional<std::int64_t> runs_after = worker_runs();
      const std::optional<bool> worker_ran = runs_before && runs_after ? std::optional(*runs_after > *runs_before) : std::nullopt;
      const FlushedBy by = plan_.healthy ? FlushedBy::reader : judge.judge(timing->end_ns - timing->start_ns, worker_ran);
      const std::string line = plan_.healthy ? control_line(identity, *timing) : stall_line(identity, *timing, by);
      if (Status sent = reports.send(line); !sent) {
        return sent;
      }
      // The worker comes at a fixed interval too: once the two meet they would go on meeting, so step out of its phase.
      next_ns += by == FlushedBy::kernel_worker ? plan_.period_ns / 2 : plan_.period_ns;
      while (next_ns < base::monotonic_ns()) {
        next_ns += plan_.period_ns;
      }
    }
    static_cast<void>(stop.wait_until(end_ns));
    return base::ok();
  }

 private:
  [[nodiscard]] std::optional<std::int64_t> worker_runs() const {
    if (worker_ == nullptr) {
      return std::nullopt;
    }
    const Result<std::int64_t> count = worker_->runs_count();
    return count ? std::optional(*count) : std::nullopt;
  }

  const ReaderPlan& plan_;
  OwnedFd pins_;
  const FlushWorkerWatch* worker_;
};

}  // namespace

Status run_reader(const ReaderPlan& plan, const ReportPipe& reports) {
  Result<StopSignals> stop = StopSignals::block();
  if (!stop) {
    return stop.error();
  }
  if (Status joined = base::write_file(plan.cgroup_path + "/cgroup.procs", "0"); !joined) {
    return joined;
  }
  if (Status pinned = pin_to_cpu(plan.cpu); !pinned) {
    return pinned;
  }
  Result<OwnedFd> pins = base::open_file(plan.pin_path, O_RDONLY | O_NOFOLLOW);
  if (!pins) {
    return pins.error();
  }
  const Result<FlushWorkerWatch> worker = FlushWorkerWatch::open();
  Reader reader(plan, std::move(*pins), worker ? &*worker : nullptr);
  Result<std::vector<std::int64_t>> lengths_ns = reader.calibrate();
  if (!lengths_ns) {
    return lengths_ns.error();
  }
  return reader.run(FlushJudge(std::move(*lengths_ns)), *stop, reports);
}

}  // namespace stallscope::lab
