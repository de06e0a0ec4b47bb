// SPDX-License-Identifier: Apache-2.0
#include "remedy/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"

namespace stallscope::remedy {
namespace {

using base::Result;
using base::Status;
using nlohmann::json;

/// A line that a crash cut short, or that is not ours, says nothing.
std::optional<Application> application_of(const json& line) {
  if (!line.is_object() || line.value("event", "") != "begin") {
    return std::nullopt;
  }
  Application application;
  application.option = line.value("option", "");
  application.objects = line.value("objects", std::vector<std::string>());
  application.undo = line.value("undo", "");
  application.realtime_ns = line.value("realtime_ns", std::int64_t{0});
  return application;
}

std::optional<Application> last_unfinished(std::string_view text) {
  std::optional<Application> open;
  for (const std::string_view line : base::split(text, '\n')) {
    const json parsed = json::parse(line, nullptr, false);
    if (parsed.is_discarded() || !parsed.is_object()) {
      continue;
    }
    try {
      open = application_of(parsed);
    } catch (const json::exception&) {
      open.reset();  // members of other types than ours
    }
  }
  return open;
}

}  // namespace

Result<Journal> Journal::open(const std::string& directory) {
  if (::mkdir(directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return base::errno_error("make", directory, errno, "Run it with sudo.");
  }
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    return base::errno_error("write into", directory, errno, "Run it with sudo.");
  }
  Result<base::ProcessLock> lock = base::ProcessLock::take(directory + "/lock", "remedy");
  if (!lock) {
    return lock.error();
  }
  Journal journal(directory + "/journal", std::move(*lock));
  if (const Result<std::string> text = base::read_file(journal.path_)) {
    journal.unfinished_ = last_unfinished(*text);
  }
  return journal;
}

Status Journal::append(const std::string& line) const {
  const Result<base::OwnedFd> file = base::open_file(path_, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (!file) {
    return file.error();
  }
  if (::write(file->get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return base::errno_error("write", path_, errno);
  }
  return base::ok();
}

Status Journal::begin(const Application& application) const {
  const json line = {{"event", "begin"},
                     {"option", application.option},
                     {"objects", application.objects},
                     {"undo", application.undo},
                     {"realtime_ns", application.realtime_ns}};
  return append(line.dump(-1, ' ', true, json::error_handler_t::replace) + "\n");
}

Status Journal::end(const std::string& outcome) const {
  const json line = {{"event", "end"}, {"outcome", outcome}, {"realtime_ns", base::realtime_ns()}};
  return append(line.dump(-1, ' ', true, json::error_handler_t::replace) + "\n");
}

}  // namespace stallscope::remedy
