// SPDX-License-Identifier: Apache-2.0
#include "lab/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/units.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

// An error crosses the pipe as one line of JSON behind this mark, which no report of the lab starts with.
constexpr std::string_view error_mark = "!error ";

std::string encode_error(const Error& error) {
  const nlohmann::json fields = {error.operation, error.object, error.reason, error.hint};
  return std::string(error_mark) + fields.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Error decode_error(std::string_view line) {
  const nlohmann::json fields = nlohmann::json::parse(line.substr(error_mark.size()), nullptr, false);
  if (!fields.is_array() || fields.size() != 4) {
    return {"understand", "the lab's child process", "its error message is damaged", ""};
  }
  return {fields[0].get<std::string>(), fields[1].get<std::string>(), fields[2].get<std::string>(), fields[3].get<std::string>()};
}

[[noreturn]] void run_child(pid_t parent, const std::string& comm, const std::function<Status(const ReportPipe&)>& body,
                            const ReportPipe& reports) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(EXIT_FAILURE);  // The parent died before the line above took effect.
  }
  ::prctl(PR_SET_NAME, comm.c_str());
  const Status status = body(reports);
  if (!status) {
    static_cast<void>(reports.send(encode_error(status.error())));
  }
  // Not exit: the owners and buffers copied from the parent are the parent's to release.
  ::_exit(status ? EXIT_SUCCESS : EXIT_FAILURE);
}

}  // namespace

Status ReportPipe::send(std::string_view line) const {
  std::string text(line);
  text += '\n';
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_.get(), rest.data(), rest.size());
    if (written < 0 && errno != EINTR) {
      return base::errno_error("report to", "the lab", errno);
    }
    rest.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
  }
  return base::ok();
}

Result<ChildProcess> ChildProcess::start(const std::string& comm, const std::function<Status(const ReportPipe&)>& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return base::errno_error("open a pipe to", comm, errno);
  }
  OwnedFd read_end(ends[0]);
  OwnedFd write_end(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    return base::errno_error("start", comm, errno);
  }
  if (pid == 0) {
    read_end.reset();
    run_child(parent, comm, body, ReportPipe(std::move(write_end)));
  }
  return ChildProcess(pid, comm, std::move(read_end));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      comm_(std::move(other.comm_)),
      reports_(std::move(other.reports_)),
      unread_(std::move(other.unread_)),
      error_(std::move(other.error_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    int status = 0;
    reap(status);
  }
}

void ChildProcess::reap(int& status) {
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void ChildProcess::ask_to_stop() const {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
  }
}

bool ChildProcess::take_line(std::string& line) {
  while (true) {
    const std::size_t end = unread_.find('\n');
    if (end == std::string::npos) {
      return false;
    }
    line = unread_.substr(0, end);
    unread_.erase(0, end + 1);
    if (!line.starts_with(error_mark)) {
      return true;
    }
    error_ = decode_error(line);
  }
}

ChildProcess::Event ChildProcess::next_line(std::string& line, int wake_fd, std::int64_t deadline_ns) {
  while (!take_line(line)) {
    const std::int64_t left_ns = deadline_ns == no_deadline ? base::ns_per_s : deadline_ns - base::monotonic_ns();
    if (left_ns <= 0) {
      return Event::timeout;
    }
    const timespec timeout{left_ns / base::ns_per_s, left_ns % base::ns_per_s};
    std::array<pollfd, 2> waits = {{{reports_.get(), POLLIN, 0}, {wake_fd, POLLIN, 0}}};
    if (::ppoll(waits.data(), waits.size(), &timeout, nullptr) <= 0) {
      continue;
    }
    if (waits[0].revents != 0) {
      std::array<char, 4096> chunk{};
      const ssize_t got = ::read(reports_.get(), chunk.data(), chunk.size());
      if (got == 0 || (got < 0 && errno != EINTR)) {
        return Event::ended;
      }
      unread_.append(chunk.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    } else if (waits[1].revents != 0) {
      return Event::woken;
    }
  }
  return Event::line;
}

Status ChildProcess::finish() {
  std::string line;
  while (next_line(line, -1) == Event::line) {
  }
  int status = 0;
  reap(status);
  if (error_) {
    return *error_;
  }
  if (WIFSIGNALED(status)) {
    return Error{"finish", comm_, fmt::format("it was killed by signal {}", WTERMSIG(status)), ""};
  }
  return base::ok();
}

}  // namespace stallscope::lab
