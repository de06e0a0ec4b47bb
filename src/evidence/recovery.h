// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

// What to do about a bundle whose recorder was killed in the middle of a transaction: a rollback journal lies beside it, and SQLite
// does not read the one without applying the other.
namespace stallscope::evidence {

/// A new directory that only its owner may enter, removed with the files in it.
class TemporaryDirectory {
 public:
  /// Under $TMPDIR, or /tmp.
  [[nodiscard]] static base::Result<TemporaryDirectory> create();
  TemporaryDirectory(TemporaryDirectory&& other) noexcept;
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// Whether the bundle at `path` may be rolled back where it is: its directory, itself and its journal are the caller's, so nobody
/// else can exchange them meanwhile, and they can be written.
[[nodiscard]] bool can_recover_in_place(const std::string& path);

/// Refuses a journal that names a super-journal. SQLite deletes the file named there, whatever it is, and a recorder never writes
/// one.
[[nodiscard]] base::Status check_journal(const std::string& path);

/// Copies the bundle at `path` and its journal into `directory`, and returns the path of the copy.
[[nodiscard]] base::Result<std::string> copy_with_journal(const std::string& path, const TemporaryDirectory& directory);

}  // namespace stallscope::evidence
