// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <stop_token>
#include <utility>

#include "base/owned_fd.h"

namespace stallscope::probe {

/// An event that a stop request makes readable, so that it ends a poll.
class StopEvent {
 public:
  explicit StopEvent(std::stop_token stop)
      : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(std::move(stop), Signal{fd_.get()}) {}
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  struct Signal {
    int fd;
    void operator()() const {
      const std::uint64_t one = 1;
      // Cannot fail: the counter of an event written once does not overflow.
      [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
    }
  };
  base::OwnedFd fd_;
  std::stop_callback<Signal> callback_;
};

}  // namespace stallscope::probe
