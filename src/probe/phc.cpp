// SPDX-License-Identifier: Apache-2.0
#include "probe/phc.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ptp_clock.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/units.h"

namespace stallscope::probe {
namespace {

/// The closest of so many counts: an interrupt hits one or two of them.
constexpr std::size_t sample_count = 5;
using Samples = std::array<PhcSample, sample_count>;
/// A wall clock whose offset changes by more between two looks was stepped.
constexpr std::int64_t step_threshold_ns = 100 * base::ns_per_us;

std::int64_t to_ns(const ptp_clock_time& time) {
  return (time.sec * base::ns_per_s) + time.nsec;
}

std::string path_of(std::int32_t index) {
  return fmt::format("/dev/ptp{}", index);
}

/// Drivers that read both clocks close together answer the first (since 5.0, commit 361800876f80); every one the second.
base::Result<Samples> read_samples(int fd, std::int32_t index) {
  Samples samples{};
  ptp_sys_offset_extended extended{};
  extended.n_samples = sample_count;
  if (::ioctl(fd, PTP_SYS_OFFSET_EXTENDED, &extended) == 0) {
    for (std::size_t i = 0; i < sample_count; ++i) {
      const std::span times(std::span(extended.ts)[i]);
      samples.at(i) = {to_ns(times[0]), to_ns(times[1]), to_ns(times[2])};
    }
    return samples;
  }
  ptp_sys_offset alternating{};
  alternating.n_samples = sample_count;
  if (::ioctl(fd, PTP_SYS_OFFSET, &alternating) != 0) {
    return base::errno_error("read", path_of(index), errno);
  }
  const std::span times(alternating.ts);
  for (std::size_t i = 0; i < sample_count; ++i) {
    samples.at(i) = {to_ns(times[2 * i]), to_ns(times[(2 * i) + 1]), to_ns(times[(2 * i) + 2])};
  }
  return samples;
}

}  // namespace

std::optional<PhcSample> closest_sample(std::span<const PhcSample> samples) {
  std::optional<PhcSample> closest;
  std::int64_t least_ns = std::numeric_limits<std::int64_t>::max();
  for (const PhcSample& sample : samples) {
    const std::int64_t between_ns = sample[2] - sample[0];
    if (between_ns >= 0 && between_ns < least_ns) {
      closest = sample;
      least_ns = between_ns;
    }
  }
  return closest;
}

base::Result<Phc> Phc::open(std::int32_t index) {
  const std::string path = path_of(index);
  base::OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return base::errno_error("open", path, errno);
  }
  return Phc(index, std::move(fd));
}

base::Result<PhcReading> Phc::read() const {
  const std::int64_t offset_before_ns = base::realtime_offset_ns();
  const base::Result<Samples> samples = read_samples(fd_.get(), index_);
  if (!samples) {
    return samples.error();
  }
  const std::int64_t offset_ns = base::realtime_offset_ns();
  const std::optional<PhcSample> sample = closest_sample(*samples);
  if (!sample || std::abs(offset_ns - offset_before_ns) > step_threshold_ns) {
    return base::Error{"read", path_of(index_), "the wall clock was stepped meanwhile", ""};
  }
  return PhcReading{.before_ns = sample->at(0) - offset_ns, .phc_ns = sample->at(1), .after_ns = sample->at(2) - offset_ns};
}

std::optional<std::int64_t> PhcClock::to_monotonic(std::int64_t phc_ns, std::int64_t now_ns) {
  if (asked_ns_ == 0 || now_ns - asked_ns_ >= read_every_ns) {
    asked_ns_ = now_ns;
    follow();
  }
  if (!last_ || !running_) {
    return std::nullopt;
  }
  const std::int64_t since_ns = phc_ns - last_->phc_ns;
  return last_->monotonic_ns() + since_ns + std::llround(static_cast<double>(since_ns) * drift_);
}

void PhcClock::follow() {
  const base::Result<PhcReading> reading = read_();
  const std::optional<PhcReading> before = std::exchange(last_, reading ? std::optional(*reading) : std::nullopt);
  drift_ = 0;
  if (!before || !last_) {
    return;
  }
  const std::int64_t phc_ns = last_->phc_ns - before->phc_ns;
  running_ = phc_ns != 0;
  if (!running_) {
    return;
  }
  const std::int64_t monotonic_ns = last_->monotonic_ns() - before->monotonic_ns();
  const double drift = static_cast<double>(monotonic_ns - phc_ns) / static_cast<double>(phc_ns);
  if (std::abs(drift) <= most_drift) {
    drift_ = drift;
  }
}

}  // namespace stallscope::probe
