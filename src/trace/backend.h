// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/result.h"
#include "evidence/records.h"

namespace stallscope::trace {

/// One way to watch a kernel: what a Tracer promises, by BPF programs or by perf events.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  Backend(Backend&&) = delete;
  Backend& operator=(Backend&&) = delete;
  virtual ~Backend() = default;

  [[nodiscard]] virtual base::Status drain(int timeout_ms) = 0;
  [[nodiscard]] virtual base::Status stop() = 0;
  [[nodiscard]] virtual const std::vector<evidence::GapRecord>& gaps() const = 0;
  [[nodiscard]] virtual std::vector<evidence::LossRecord> losses() const = 0;
};

}  // namespace stallscope::trace
