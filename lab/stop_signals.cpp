// SPDX-License-Identifier: Apache-2.0
#include "lab/stop_signals.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/clock.h"
#include "base/units.h"

namespace stallscope::lab {

base::Result<StopSignals> StopSignals::block() {
  sigset_t stops;
  sigemptyset(&stops);
  // SIGPIPE too: who reads the ground truth may go away, and the lab must still be taken down.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) {
    sigaddset(&stops, signal);
  }
  sigset_t previous;
  if (const int error = pthread_sigmask(SIG_BLOCK, &stops, &previous); error != 0) {
    return base::errno_error("block", "signals", error);
  }
  base::OwnedFd fd(signalfd(-1, &stops, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) {
    const int error = errno;
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    return base::errno_error("open", "a signalfd", error);
  }
  return StopSignals(std::move(fd), previous);
}

StopSignals::StopSignals(StopSignals&& other) noexcept
    : fd_(std::move(other.fd_)), previous_(other.previous_), requested_(other.requested_) {}

StopSignals::~StopSignals() {
  if (!fd_) {
    return;
  }
  const bool asked = requested();
  const bool nested = sigismember(&previous_, SIGTERM) == 1;
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  if (asked && nested) {
    static_cast<void>(::raise(SIGTERM));
  }
}

bool StopSignals::requested() {
  signalfd_siginfo info{};
  while (::read(fd_.get(), &info, sizeof info) > 0) {
    requested_ = true;
  }
  return requested_;
}

bool StopSignals::wait_until(std::int64_t deadline_ns) {
  while (!requested()) {
    const std::int64_t left_ns = deadline_ns - base::monotonic_ns();
    if (left_ns <= 0) {
      return false;
    }
    pollfd wait{fd_.get(), POLLIN, 0};
    const timespec timeout{left_ns / base::ns_per_s, left_ns % base::ns_per_s};
    static_cast<void>(::ppoll(&wait, 1, &timeout, nullptr));
  }
  return true;
}

bool StopSignals::wait_writable(int fd) {
  constexpr int patience_ms = 1000;
  pollfd writable{fd, POLLOUT, 0};
  while (!requested()) {
    std::array<pollfd, 2> waits = {{writable, {fd_.get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) > 0 && waits[0].revents != 0) {
      return true;
    }
  }
  return ::poll(&writable, 1, patience_ms) > 0;
}

}  // namespace stallscope::lab
