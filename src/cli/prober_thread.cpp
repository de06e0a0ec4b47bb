// SPDX-License-Identifier: Apache-2.0
#include "cli/prober_thread.h"

#include <cstddef>
#include <utility>

namespace stallscope::cli {

ProberThread::ProberThread(probe::Prober& prober) : prober_(prober) {
  // So that handing over allocates nothing at ordinary rates.
  constexpr std::size_t usual_batch = 65536;
  records_.probes.reserve(usual_batch);
  spare_.probes.reserve(usual_batch);
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

const ProberThread::Records& ProberThread::take() {
  spare_.probes.clear();
  spare_.exchanges.clear();
  const std::lock_guard lock(mutex_);
  std::swap(records_, spare_);
  return spare_;
}

void ProberThread::run(const std::stop_token& stop) {
  summary_ = prober_.run(stop, [this](const probe::ProbeBatch& batch) {
    const std::lock_guard lock(mutex_);
    records_.probes.insert(records_.probes.end(), batch.probes.begin(), batch.probes.end());
    records_.exchanges.insert(records_.exchanges.end(), batch.exchanges.begin(), batch.exchanges.end());
  });
  finished_.store(true, std::memory_order_release);
}

}  // namespace stallscope::cli
