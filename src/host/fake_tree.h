// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "host/file_tree.h"

namespace stallscope::host {

/// For tests: a directory with the files of an imagined machine, removed at the end.
class FakeTree {
 public:
  FakeTree() : root_((std::filesystem::temp_directory_path() / "stallscope-host-XXXXXX").string()) {
    if (::mkdtemp(root_.data()) == nullptr) {
      ADD_FAILURE() << "cannot make " << root_;
    }
  }
  ~FakeTree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  FakeTree(const FakeTree&) = delete;
  FakeTree& operator=(const FakeTree&) = delete;
  FakeTree(FakeTree&&) = delete;
  FakeTree& operator=(FakeTree&&) = delete;

  FakeTree& add(std::string_view absolute, std::string_view content) {
    const std::filesystem::path file = root_ + std::string(absolute);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return *this;
  }
  [[nodiscard]] FileTree files() const { return FileTree(root_); }
  [[nodiscard]] const std::string& root() const { return root_; }

 private:
  std::string root_;
};

}  // namespace stallscope::host
