// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace stallscope::lab {

/// How to undo one change, as it is kept in a file: what to write back where, or which program to run.
struct UndoRecord {
  std::string path;
  std::string text;
  /// Not empty where a program is to be run.
  std::vector<std::string> arguments;
};

/// Writes the record to a file of the directory, which is made where it is missing, and returns its path. Never half a record.
[[nodiscard]] base::Result<std::string> save_undo_record(const std::string& directory, const UndoRecord& record);
/// An error where the file does not hold a whole record.
[[nodiscard]] base::Result<UndoRecord> read_undo_record(const std::string& path);
/// The paths of the records of the directory, oldest first.
[[nodiscard]] std::vector<std::string> list_undo_records(const std::string& directory);
/// Removes the record, and the directory with the last one.
void remove_undo_record(const std::string& path);
/// Removes the directory unless there are records in it.
void remove_empty_undo_directory(const std::string& directory);

}  // namespace stallscope::lab
