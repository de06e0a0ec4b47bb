// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace stallscope::cli {

struct WatchOptions {
  /// Probed by ICMP echo.
  std::string target = "127.0.0.1";
  std::string netns;
  std::int64_t interval_ns = base::ns_per_ms;
  /// The longest it can be needed.
  std::int64_t duration_ns = 0;
  /// CPU the prober stays on: the one on which the work is done, whose stalls it is to feel.
  std::int32_t cpu = 0;
};

/// What packets feel while something is done to this host: probes at a constant rate, and the tracer's waits where it can run.
/// Threads of its own send; the rest happens in the calls.
class RemedyWatch {
 public:
  /// Blocks for about 0.3 s, in which it learns what a probe usually takes.
  [[nodiscard]] static base::Result<RemedyWatch> start(const WatchOptions& options);
  RemedyWatch(RemedyWatch&&) noexcept;
  RemedyWatch& operator=(RemedyWatch&&) noexcept;
  RemedyWatch(const RemedyWatch&) = delete;
  RemedyWatch& operator=(const RemedyWatch&) = delete;
  ~RemedyWatch();

  /// Waits `length_ns`, and then until every probe sent meanwhile was answered, 2 s at most. Returns the worst that was felt since
  /// the last call: how much later than usual a probe came back, counted from when it should have been sent, or the longest wait of
  /// a CPU.
  [[nodiscard]] base::Result<std::int64_t> worst_during(std::int64_t length_ns);
  /// Of all since the start.
  [[nodiscard]] std::int64_t worst_added_ns() const;
  [[nodiscard]] std::int64_t worst_wait_ns() const;
  [[nodiscard]] std::int64_t usual_ns() const;
  [[nodiscard]] std::int64_t probe_count() const;
  /// Why waits are not seen; empty: they are.
  [[nodiscard]] const std::string& without_tracer() const;

 private:
  struct State;
  explicit RemedyWatch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace stallscope::cli
