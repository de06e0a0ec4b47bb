// SPDX-License-Identifier: Apache-2.0
#include "lab/undo.h"

#include <unistd.h>

#include <algorithm>

#include "base/files.h"
#include "host/program.h"
#include "lab/undo_record.h"

namespace stallscope::lab {
namespace {

using base::Result;
using base::Status;

Status carry_out(const UndoRecord& record) {
  if (!record.arguments.empty()) {
    const Result<std::string> output = host::run_program(record.arguments);
    return output ? base::ok() : Status(output.error());
  }
  // A control file that has gone took its setting along.
  return ::access(record.path.c_str(), F_OK) == 0 ? base::write_file(record.path, record.text) : base::ok();
}

}  // namespace

Result<Undo> Undo::of_writing(const std::string& path, std::string_view text, const std::string& directory) {
  const Result<std::string> before = base::read_file(path);
  if (!before) {
    return before.error();
  }
  const Result<std::string> record = save_undo_record(directory, {path, *before, {}});
  if (!record) {
    return record.error();
  }
  Undo undo(*record);
  Status written = base::write_file(path, text);
  return written ? Result<Undo>(std::move(undo)) : written.error();
}

Result<Undo> Undo::by_running(const std::vector<std::string>& arguments, const std::string& directory) {
  const Result<std::string> record = save_undo_record(directory, {{}, {}, arguments});
  return record ? Result<Undo>(Undo(*record)) : record.error();
}

Undo::~Undo() {
  try {
    static_cast<void>(now());
  } catch (...) {
    // Want of memory. What fails here stays written down, for the next lab or `down` to try and to report.
    return;
  }
}

Status Undo::now() {
  if (record_path_.empty()) {
    return base::ok();
  }
  const std::string path = std::exchange(record_path_, {});
  const Result<UndoRecord> record = read_undo_record(path);
  if (!record) {
    return record.error();
  }
  Status undone = carry_out(*record);
  if (undone) {
    remove_undo_record(path);
  }
  return undone;
}

Result<bool> undo_leftovers(const Progress& progress, const std::string& directory) {
  std::vector<std::string> paths = list_undo_records(directory);
  std::reverse(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    const Result<UndoRecord> record = read_undo_record(path);
    if (!record) {
      return record.error();
    }
    if (Status undone = carry_out(*record); !undone) {
      if (record->arguments.empty()) {
        return undone.error();
      }
      progress(undone.error().message());
    }
    remove_undo_record(path);
  }
  remove_empty_undo_directory(directory);
  return !paths.empty();
}

}  // namespace stallscope::lab
