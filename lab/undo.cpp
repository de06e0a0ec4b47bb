// SPDX-License-Identifier: Apache-2.0
#include "lab/undo.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "lab/program.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;
using nlohmann::json;

Status make_records_directory(const std::string& directory) {
  struct stat found {};
  if (::mkdir(directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return base::errno_error("make", directory, errno);
  }
  if (::lstat(directory.c_str(), &found) != 0 || !S_ISDIR(found.st_mode) || found.st_uid != ::geteuid()) {
    return Error{"use", directory, "it is not a directory of this user", "Remove it."};
  }
  return base::ok();
}

std::vector<std::string> list_records(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(directory, error)) {
    paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// Written under another name first: half a record would undo nothing.
Result<std::string> save_record(const std::string& directory, const json& record) {
  if (Status made = make_records_directory(directory); !made) {
    return made.error();
  }
  const std::string draft = directory + "/.draft";
  {
    const Result<OwnedFd> file = base::open_file(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (!file) {
      return file.error();
    }
  }
  if (Status written = base::write_file(draft, record.dump()); !written) {
    return written.error();
  }
  // Numbered in the order in which they were made, so that they are undone in the other.
  for (int number = 1;; ++number) {
    const std::string path = fmt::format("{}/{:04}", directory, number);
    if (::access(path.c_str(), F_OK) == 0) {
      continue;
    }
    if (::rename(draft.c_str(), path.c_str()) != 0) {
      return base::errno_error("write", path, errno);
    }
    return path;
  }
}

void forget(const std::string& record_path) {
  ::unlink(record_path.c_str());
  // Fails while other records are in it.
  ::rmdir(std::filesystem::path(record_path).parent_path().c_str());
}

Status carry_out(const std::string& record_path) {
  const Result<std::string> text = base::read_file(record_path);
  if (!text) {
    return text.error();
  }
  const json record = json::parse(*text, nullptr, false);
  if (record.is_object() && record.contains("path") && record.contains("text")) {
    const auto path = record["path"].get<std::string>();
    // A control file that has gone took its setting along.
    return ::access(path.c_str(), F_OK) == 0 ? base::write_file(path, record["text"].get<std::string>()) : base::ok();
  }
  if (record.is_object() && record.contains("run")) {
    const Result<std::string> output = run_program(record["run"].get<std::vector<std::string>>());
    return output ? base::ok() : Status(output.error());
  }
  return Error{"undo", record_path, "the record is damaged", "Remove it."};
}

}  // namespace

Result<Undo> Undo::of_writing(const std::string& path, std::string_view text, const std::string& directory) {
  const Result<std::string> before = base::read_file(path);
  if (!before) {
    return before.error();
  }
  const Result<std::string> record = save_record(directory, {{"path", path}, {"text", *before}});
  if (!record) {
    return record.error();
  }
  Undo undo(*record);
  Status written = base::write_file(path, text);
  return written ? Result<Undo>(std::move(undo)) : written.error();
}

Result<Undo> Undo::by_running(const std::vector<std::string>& arguments, const std::string& directory) {
  const Result<std::string> record = save_record(directory, {{"run", arguments}});
  return record ? Result<Undo>(Undo(*record)) : record.error();
}

Undo::~Undo() {
  // What fails here stays written down, for the next lab or `down` to try and to report.
  static_cast<void>(now());
}

Status Undo::now() {
  if (record_path_.empty()) {
    return base::ok();
  }
  Status undone = carry_out(record_path_);
  if (undone) {
    forget(record_path_);
  }
  record_path_.clear();
  return undone;
}

Result<bool> undo_leftovers(const Progress& progress, const std::string& directory) {
  std::vector<std::string> records = list_records(directory);
  std::reverse(records.begin(), records.end());
  for (const std::string& record : records) {
    if (!record.ends_with(".draft")) {
      if (Status undone = carry_out(record); !undone) {
        if (const Result<std::string> text = base::read_file(record);
            !text || !json::parse(*text, nullptr, false).contains("run")) {
          return undone.error();
        }
        progress(undone.error().message());
      }
    }
    forget(record);
  }
  return !records.empty();
}

}  // namespace stallscope::lab
