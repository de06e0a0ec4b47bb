// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::lab {

/// The child's end of the pipe to its parent.
class ReportPipe {
 public:
  explicit ReportPipe(base::OwnedFd fd) : fd_(std::move(fd)) {}
  /// Sends one line (without its newline) at once. Blocks while the parent does not read.
  [[nodiscard]] base::Status send(std::string_view line) const;
  /// For what writes whole lines itself.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  base::OwnedFd fd_;
};

/// Owns a forked child that runs one function of this program. It is killed, and waited for, when the owner goes; the kernel
/// kills it when the owning process dies by any means (PR_SET_PDEATHSIG), so start it from a thread that outlives it.
class ChildProcess {
 public:
  enum class Event : std::uint8_t { line, ended, woken, timeout };
  static constexpr std::int64_t no_deadline = std::numeric_limits<std::int64_t>::max();

  /// Forks. `comm` (at most 15 characters) is the child's name. An error returned by `body` reaches the parent through finish().
  [[nodiscard]] static base::Result<ChildProcess> start(const std::string& comm,
                                                        const std::function<base::Status(const ReportPipe&)>& body);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Readable once it has reported something or has ended; for who waits for several.
  [[nodiscard]] int fd() const { return reports_.get(); }
  /// Waits for the next line of the child, its end, `wake_fd` (ignored when negative) becoming readable, or `deadline_ns` of
  /// CLOCK_MONOTONIC.
  [[nodiscard]] Event next_line(std::string& line, int wake_fd, std::int64_t deadline_ns = no_deadline);
  /// Sends SIGTERM.
  void ask_to_stop() const;
  /// Waits for the end; the child's own error, or how it died.
  [[nodiscard]] base::Status finish();

 private:
  ChildProcess(pid_t pid, std::string comm, base::OwnedFd reports)
      : pid_(pid), comm_(std::move(comm)), reports_(std::move(reports)) {}
  [[nodiscard]] bool take_line(std::string& line);
  void reap(int& status);

  pid_t pid_ = -1;
  std::string comm_;
  base::OwnedFd reports_;
  std::string unread_;
  std::optional<base::Error> error_;
};

}  // namespace stallscope::lab
