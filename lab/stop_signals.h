// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>
#include <cstdint>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::lab {

/// While it lives, SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGPIPE of the calling thread ask for an orderly end instead of killing
/// the process, so that owners get to remove what they made. Threads and children started meanwhile inherit the blocked mask.
class StopSignals {
 public:
  [[nodiscard]] static base::Result<StopSignals> block();
  /// Discards what is pending, so that a signal already obeyed does not kill the process, and restores the mask. Inside of another
  /// one's life the stop is asked for again, so that the outer one sees it too.
  ~StopSignals();
  StopSignals(StopSignals&& other) noexcept;
  StopSignals& operator=(StopSignals&&) = delete;
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Readable as soon as a stop is asked for; to be polled.
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Whether a stop has been asked for, now or earlier. Does not block.
  [[nodiscard]] bool requested();
  /// Sleeps until `deadline_ns` of CLOCK_MONOTONIC or a stop, and says whether it was a stop.
  [[nodiscard]] bool wait_until(std::int64_t deadline_ns);
  /// Waits until `fd` takes a write without blocking and returns true; once a stop is asked for, gives up after a second.
  [[nodiscard]] bool wait_writable(int fd);

 private:
  StopSignals(base::OwnedFd fd, const sigset_t& previous) : fd_(std::move(fd)), previous_(previous) {}

  base::OwnedFd fd_;
  sigset_t previous_;
  bool requested_ = false;
};

}  // namespace stallscope::lab
