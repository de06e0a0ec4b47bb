// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::probe {

/// A card's clock (PTP hardware clock, PHC), read between two readings of CLOCK_MONOTONIC.
struct PhcReading {
  std::int64_t before_ns = 0;
  std::int64_t phc_ns = 0;
  std::int64_t after_ns = 0;

  [[nodiscard]] std::int64_t monotonic_ns() const { return before_ns + ((after_ns - before_ns) / 2); }
};

/// System time, the card's, system time.
using PhcSample = std::array<std::int64_t, 3>;
/// The one between whose readings of the system's clock least time went by; nothing where all go backwards.
[[nodiscard]] std::optional<PhcSample> closest_sample(std::span<const PhcSample> samples);

/// /dev/ptpN, as a clock to be read.
class Phc {
 public:
  [[nodiscard]] static base::Result<Phc> open(std::int32_t index);

  /// Blocks for some microseconds: the card is asked several times, over its bus. Fails where the wall clock is stepped meanwhile.
  [[nodiscard]] base::Result<PhcReading> read() const;

 private:
  Phc(std::int32_t index, base::OwnedFd fd) : index_(index), fd_(std::move(fd)) {}

  std::int32_t index_;
  base::OwnedFd fd_;
};

/// Turns a card's timestamps into CLOCK_MONOTONIC. The clocks may be apart by anything (PHCs count TAI, or from when they were
/// switched on) and drift; both are followed by reading the card's clock again and again. Not thread-safe.
class PhcClock {
 public:
  using Read = std::function<base::Result<PhcReading>()>;
  /// Between two readings. Clocks that drift by 100 ppm are 25 us apart after it, which the next reading tells.
  static constexpr std::int64_t read_every_ns = 250'000'000;
  /// Cards drift by some 100 ppm at most; what looks like more was a step, or a clock that stands still.
  static constexpr double most_drift = 1e-3;

  explicit PhcClock(Read read) : read_(std::move(read)) {}

  /// The monotonic time of a timestamp that was taken not long ago; nothing while the clock cannot be read or does not run.
  [[nodiscard]] std::optional<std::int64_t> to_monotonic(std::int64_t phc_ns, std::int64_t now_ns);

 private:
  void follow();

  Read read_;
  std::optional<PhcReading> last_;
  std::int64_t asked_ns_ = 0;
  /// False once two readings showed the same time.
  bool running_ = true;
  /// How much monotonic time more than its own goes by, for each ns of the card's.
  double drift_ = 0;
};

}  // namespace stallscope::probe
