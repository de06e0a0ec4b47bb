// SPDX-License-Identifier: Apache-2.0
#include "lab/undo_record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "base/files.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;
using nlohmann::json;

constexpr std::string_view draft_name = ".draft";

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

json to_json(const UndoRecord& record) {
  return record.arguments.empty() ? json{{"path", record.path}, {"text", record.text}} : json{{"run", record.arguments}};
}

/// The text of a member of an object; none where it is something else. Never throws: a record may have been damaged.
const std::string* text_member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

std::optional<UndoRecord> parse_record(const std::string& text) {
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) {
    return std::nullopt;
  }
  const std::string* path = text_member(parsed, "path");
  const std::string* before = text_member(parsed, "text");
  if (path != nullptr && before != nullptr) {
    return UndoRecord{*path, *before, {}};
  }
  const auto run = parsed.find("run");
  if (run == parsed.end() || !run->is_array() || run->empty()) {
    return std::nullopt;
  }
  UndoRecord record;
  for (const json& argument : *run) {
    if (!argument.is_string()) {
      return std::nullopt;
    }
    record.arguments.push_back(*argument.get_ptr<const std::string*>());
  }
  return record;
}

}  // namespace

Result<std::string> save_undo_record(const std::string& directory, const UndoRecord& record) {
  if (Status made = make_records_directory(directory); !made) {
    return made.error();
  }
  // Written under another name first: half a record would undo nothing.
  const std::string draft = directory + "/" + std::string(draft_name);
  {
    const Result<OwnedFd> file = base::open_file(draft, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (!file) {
      return file.error();
    }
  }
  if (Status written = base::write_file(draft, to_json(record).dump(-1, ' ', false, json::error_handler_t::replace)); !written) {
    return written.error();
  }
  // Numbered in the order in which they were made, so that they are undone in the other.
  const std::vector<std::string> others = list_undo_records(directory);
  int number = 1;
  if (!others.empty()) {
    const std::string last = others.back().substr(directory.size() + 1);
    std::from_chars(last.data(), last.data() + last.size(), number);
    ++number;
  }
  const std::string path = fmt::format("{}/{:06}", directory, number);
  if (::rename(draft.c_str(), path.c_str()) != 0) {
    return base::errno_error("write", path, errno);
  }
  return path;
}

Result<UndoRecord> read_undo_record(const std::string& path) {
  const Result<std::string> text = base::read_file(path);
  if (!text) {
    return text.error();
  }
  std::optional<UndoRecord> record = parse_record(*text);
  return record ? Result<UndoRecord>(std::move(*record))
                : Error{"undo", path, "the record is damaged", "Remove it, once what it was for is undone by hand."};
}

std::vector<std::string> list_undo_records(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().filename() != draft_name) {
      paths.push_back(entry.path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void remove_undo_record(const std::string& path) {
  ::unlink(path.c_str());
  remove_empty_undo_directory(path.substr(0, path.rfind('/')));
}

void remove_empty_undo_directory(const std::string& directory) {
  if (list_undo_records(directory).empty()) {
    // What a killed lab had begun to write down it had not begun to do.
    ::unlink((directory + "/" + std::string(draft_name)).c_str());
    ::rmdir(directory.c_str());
  }
}

}  // namespace stallscope::lab
