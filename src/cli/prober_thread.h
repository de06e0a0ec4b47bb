// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/result.h"
#include "evidence/records.h"
#include "probe/prober.h"

namespace stallscope::cli {

/// Runs the prober on a thread of its own and hands its records over to the thread that prints and writes: what is done with them
/// must not make it late. The prober has to outlive it; what Prober says may be called from another thread still may.
class ProberThread {
 public:
  struct Records {
    std::vector<evidence::ProbeRecord> probes;
    std::vector<evidence::HttpRecord> exchanges;
  };

  explicit ProberThread(probe::Prober& prober);

  void request_stop() { thread_.request_stop(); }
  /// Read before take(): what was handed over before it finished is then taken.
  [[nodiscard]] bool finished() const { return finished_.load(std::memory_order_acquire); }
  /// What came since the last call; valid until the next.
  [[nodiscard]] const Records& take();
  /// Only once finished() is true.
  [[nodiscard]] const base::Result<probe::ProberSummary>& summary() const { return summary_; }

 private:
  void run(const std::stop_token& stop);

  probe::Prober& prober_;
  std::mutex mutex_;
  Records records_;
  Records spare_;
  base::Result<probe::ProberSummary> summary_ = base::Error{"probe", "", "not finished", ""};
  std::atomic<bool> finished_ = false;
  std::jthread thread_;  // last: it ends before what it uses
};

}  // namespace stallscope::cli
