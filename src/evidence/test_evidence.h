// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "evidence/bundle.h"
#include "evidence/recovery.h"
#include "evidence/sqlite.h"

// What the tests of this room share.
namespace stallscope::evidence {

/// A directory that goes away with the test.
inline TemporaryDirectory test_directory() {
  base::Result<TemporaryDirectory> directory = TemporaryDirectory::create();
  EXPECT_TRUE(directory) << directory.error().message();
  return *std::move(directory);
}

/// The value of a result, or an exception that fails the test with the error's text.
template <typename T>
T value_of(base::Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().message());
  }
  return *std::move(result);
}
inline void require(const base::Status& status) {
  static_cast<void>(value_of(status));
}

/// Evidence in which no field of any record has its default value, and text holds what a terminal or SQL would take amiss.
Evidence complete_evidence();

/// Writes all of `evidence` as a recorder would and closes the bundle.
void write_evidence(const std::string& path, const Evidence& evidence);

/// Runs SQL on a bundle, as somebody who tampers with it would.
void tamper(const std::string& path, const std::string& sql);
/// The first column of the first row.
std::string query_text(const std::string& path, const std::string& sql);

/// The whole text of the error read_bundle gives, or "" if it reads the file.
inline std::string read_failure(const std::string& path, const ReadLimits& limits = {}) {
  const base::Result<Evidence> evidence = read_bundle(path, limits);
  return evidence ? "" : evidence.error().message();
}

}  // namespace stallscope::evidence
