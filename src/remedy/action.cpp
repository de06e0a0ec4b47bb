// SPDX-License-Identifier: Apache-2.0
#include "remedy/action.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/files.h"
#include "base/numbers.h"
#include "base/owned_fd.h"
#include "base/text.h"
#include "base/units.h"
#include "remedy/file_release.h"

namespace stallscope::remedy {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

class ReleaseFiles : public Action {
 public:
  ReleaseFiles(std::vector<FileRelease> files, std::vector<std::string> paths, FileAction action)
      : files_(std::move(files)), paths_(std::move(paths)), action_(action) {}

  [[nodiscard]] std::vector<std::string> description() const override {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const std::string pages = fmt::format("{} pages of {}", base::format_count(files_[i].page_count()), paths_[i]);
      lines.push_back(action_ == FileAction::drop_cache ? "drop " + pages + " from the page cache; its content stays"
                      : action_ == FileAction::punch    ? "give up the content of " + pages + "; it reads as zeros afterwards"
                                                        : "give up the content of " + pages + ", and remove the file");
    }
    return lines;
  }
  [[nodiscard]] std::string undo() const override { return action_ == FileAction::drop_cache ? "" : "none: the content is gone"; }
  [[nodiscard]] std::int64_t total() const override {
    std::int64_t pages = 0;
    for (const FileRelease& file : files_) {
      pages += file.page_count();
    }
    return pages;
  }
  [[nodiscard]] bool done() const override { return current_ == files_.size(); }
  /// Goes through as many files as it takes: pages of many small ones are let go in one step, too.
  Result<std::int64_t> step(std::int64_t amount) override {
    std::int64_t passed = 0;
    while (passed < amount && !done()) {
      FileRelease& file = files_[current_];
      const Result<std::int64_t> pages = file.step(amount - passed);
      if (!pages) {
        return pages.error();
      }
      passed += *pages;
      if (file.done()) {
        if (const Status finished = file.finish(); !finished) {
          return finished.error();
        }
        ++current_;
      }
    }
    return passed;
  }
  Status finish(bool /*complete*/) override { return base::ok(); }

 private:
  std::vector<FileRelease> files_;
  std::vector<std::string> paths_;
  FileAction action_;
  std::size_t current_ = 0;
};

/// One write to a control file, for what cannot be had in steps.
class ControlWrite : public Action {
 public:
  ControlWrite(OwnedFd file, std::string path, std::string text, std::string meaning)
      : file_(std::move(file)), path_(std::move(path)), text_(std::move(text)), meaning_(std::move(meaning)) {}

  [[nodiscard]] std::vector<std::string> description() const override {
    return {fmt::format("write {} to {}: {}", text_, path_, meaning_)};
  }
  [[nodiscard]] std::string undo() const override { return ""; }
  [[nodiscard]] std::int64_t total() const override { return 0; }
  [[nodiscard]] bool done() const override { return done_; }
  Result<std::int64_t> step(std::int64_t /*amount*/) override {
    done_ = true;
    if (::write(file_.get(), text_.data(), text_.size()) < 0) {
      return base::errno_error("write", path_, errno);
    }
    return std::int64_t{1};
  }
  Status finish(bool /*complete*/) override { return base::ok(); }

 private:
  OwnedFd file_;
  std::string path_;
  std::string text_;
  std::string meaning_;
  bool done_ = false;
};

/// memory.reclaim takes an amount, so it can be had a little at a time.
class Reclaim : public Action {
 public:
  Reclaim(OwnedFd file, std::string path, std::int64_t charged_pages)
      : file_(std::move(file)), path_(std::move(path)), charged_pages_(charged_pages) {}

  [[nodiscard]] std::vector<std::string> description() const override {
    return {fmt::format("write amounts to {} until nothing more can be reclaimed ({} charged now)", path_,
                        base::format_bytes(charged_pages_ * ::sysconf(_SC_PAGESIZE)))};
  }
  [[nodiscard]] std::string undo() const override { return ""; }
  [[nodiscard]] std::int64_t total() const override { return charged_pages_; }
  [[nodiscard]] bool done() const override { return done_; }
  Result<std::int64_t> step(std::int64_t amount) override {
    const std::string text = fmt::format("{}", amount * ::sysconf(_SC_PAGESIZE));
    if (::write(file_.get(), text.data(), text.size()) < 0) {
      if (errno != EAGAIN) {
        return base::errno_error("write", path_, errno);
      }
      // Less than that could be reclaimed: there is nothing more.
      done_ = true;
    }
    reclaimed_pages_ += amount;
    done_ = done_ || reclaimed_pages_ >= charged_pages_;
    return amount;
  }
  Status finish(bool /*complete*/) override { return base::ok(); }

 private:
  OwnedFd file_;
  std::string path_;
  std::int64_t charged_pages_;
  std::int64_t reclaimed_pages_ = 0;
  bool done_ = false;
};

/// Stopped for as long as this lives.
class StopReader : public Action {
 public:
  StopReader(OwnedFd process, std::int32_t pid, std::string comm)
      : process_(std::move(process)), pid_(pid), comm_(std::move(comm)) {}
  ~StopReader() override {
    if (stopped_) {
      static_cast<void>(signal(SIGCONT));
    }
  }
  StopReader(const StopReader&) = delete;
  StopReader& operator=(const StopReader&) = delete;
  StopReader(StopReader&&) = delete;
  StopReader& operator=(StopReader&&) = delete;

  [[nodiscard]] std::vector<std::string> description() const override {
    return {fmt::format("stop {} (pid {}) with SIGSTOP, and let it go on at the end", comm_, pid_)};
  }
  [[nodiscard]] std::string undo() const override { return fmt::format("kill -CONT {}", pid_); }
  [[nodiscard]] std::int64_t total() const override { return 1; }
  [[nodiscard]] bool done() const override { return stopped_; }
  Result<std::int64_t> step(std::int64_t /*amount*/) override {
    if (const Status sent = signal(SIGSTOP); !sent) {
      return sent.error();
    }
    stopped_ = true;
    return std::int64_t{1};
  }
  Status finish(bool /*complete*/) override { return std::exchange(stopped_, false) ? signal(SIGCONT) : base::ok(); }

 private:
  [[nodiscard]] Status signal(int number) const {
    if (::syscall(SYS_pidfd_send_signal, process_.get(), number, nullptr, 0) != 0) {
      return base::errno_error("signal", fmt::format("process {}", pid_), errno);
    }
    return base::ok();
  }

  OwnedFd process_;
  std::int32_t pid_;
  std::string comm_;
  bool stopped_ = false;
};

Error refusal(const Request& request, std::string reason, std::string hint) {
  return {"apply", request.option, std::move(reason), std::move(hint)};
}

Result<std::unique_ptr<Action>> prepare_files(const Request& request, FileAction action) {
  if (request.files.empty()) {
    return refusal(request, "no file is named, and it touches none that you did not name",
                   "stallscope census lists the files that pin; name them: --file PATH");
  }
  std::vector<FileRelease> files;
  for (const std::string& path : request.files) {
    Result<FileRelease> file = FileRelease::open(path, action);
    if (!file) {
      return file.error();
    }
    files.push_back(std::move(*file));
  }
  return std::unique_ptr<Action>(std::make_unique<ReleaseFiles>(std::move(files), request.files, action));
}

Result<std::unique_ptr<Action>> prepare_reclaim(const Request& request) {
  if (request.cgroup.empty()) {
    return refusal(request, "no cgroup is named, and it touches none that you did not name",
                   "Name the directory of a live cgroup above the dying ones: --cgroup /sys/fs/cgroup/...");
  }
  const std::string v2_path = request.cgroup + "/memory.reclaim";
  if (Result<OwnedFd> file = base::open_file(v2_path, O_WRONLY | O_NOFOLLOW)) {
    const Result<std::string> current = base::read_file(request.cgroup + "/memory.current");
    const std::string_view first_line = current ? std::string_view(*current).substr(0, current->find('\n')) : std::string_view();
    const std::int64_t charged = base::parse_number<std::int64_t>(first_line).value_or(0);
    return std::unique_ptr<Action>(std::make_unique<Reclaim>(std::move(*file), v2_path, charged / ::sysconf(_SC_PAGESIZE)));
  }
  const std::string v1_path = request.cgroup + "/memory.force_empty";
  Result<OwnedFd> file = base::open_file(v1_path, O_WRONLY | O_NOFOLLOW);
  if (!file) {
    return refusal(request,
                   fmt::format("{} has neither memory.reclaim (cgroup v2, Linux 5.19) nor memory.force_empty (v1)", request.cgroup),
                   "Name the directory of a memory cgroup; of the root of a hierarchy there is none.");
  }
  return std::unique_ptr<Action>(std::make_unique<ControlWrite>(
      std::move(*file), v1_path, "0",
      "reclaims what can be reclaimed of this cgroup and of all below, dying ones too; in one piece, "
      "because cgroup v1 has no other way"));
}

Result<std::unique_ptr<Action>> prepare_drop_caches(const Request& request) {
  if (!request.accept_stall) {
    return refusal(request, "it stalls packets itself: 22 to 135 ms were measured with 60,000 zombies, and more take longer",
                   "Prefer drop-file-cache or reclaim. If a stall is acceptable: --accept-stall");
  }
  constexpr const char* path = "/proc/sys/vm/drop_caches";
  Result<OwnedFd> file = base::open_file(path, O_WRONLY);
  if (!file) {
    return file.error();
  }
  return std::unique_ptr<Action>(
      std::make_unique<ControlWrite>(std::move(*file), path, "3", "drops all clean page cache and slab caches of the machine"));
}

Result<std::unique_ptr<Action>> prepare_stop_reader(const Request& request) {
  if (request.pid <= 1 || request.pid == ::getpid() || request.pid == ::getppid()) {
    return refusal(request,
                   request.pid == 0 ? "no process is named" : "this process must go on: it is init, this command or its parent",
                   "Name the reader that `stallscope remedy plan` found: --pid PID");
  }
  OwnedFd process(static_cast<int>(::syscall(SYS_pidfd_open, request.pid, 0)));
  if (!process) {
    return base::errno_error("open", fmt::format("process {}", request.pid), errno);
  }
  const std::string directory = fmt::format("/proc/{}", request.pid);
  const Result<std::string> command_line = base::read_file(directory + "/cmdline");
  Result<std::string> comm = base::read_file(directory + "/comm");
  if (!comm || !command_line || command_line->empty()) {
    return refusal(request, fmt::format("process {} is a kernel thread, or gone", request.pid), "");
  }
  comm->erase(comm->find_last_not_of('\n') + 1);
  return std::unique_ptr<Action>(std::make_unique<StopReader>(std::move(process), request.pid, std::move(*comm)));
}

}  // namespace

std::vector<std::string> applicable_options() {
  return {"stop-reader", "drop-file-cache", "punch-file", "remove-file", "reclaim", "drop-caches"};
}

Result<std::unique_ptr<Action>> prepare(const Request& request) {
  if (request.option == "drop-file-cache") {
    return prepare_files(request, FileAction::drop_cache);
  }
  if (request.option == "punch-file") {
    return prepare_files(request, FileAction::punch);
  }
  if (request.option == "remove-file") {
    return prepare_files(request, FileAction::remove);
  }
  if (request.option == "reclaim") {
    return prepare_reclaim(request);
  }
  if (request.option == "drop-caches") {
    return prepare_drop_caches(request);
  }
  if (request.option == "stop-reader") {
    return prepare_stop_reader(request);
  }
  return refusal(request, "it is not known", fmt::format("Known are: {}", fmt::join(applicable_options(), ", ")));
}

}  // namespace stallscope::remedy
