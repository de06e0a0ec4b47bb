// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace stallscope::census {

/// A directory that stands for "/" of another machine in a test, gone with its owner.
class FakeRoot {
 public:
  FakeRoot() {
    std::string name = (std::filesystem::temp_directory_path() / "census_test_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      // Without a directory of its own a test would write into the machine's.
      std::abort();
    }
    path_ = name;
  }
  ~FakeRoot() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;
  FakeRoot(FakeRoot&&) = delete;
  FakeRoot& operator=(FakeRoot&&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  void add_directory(const std::string& path) const { std::filesystem::create_directories(path_ + path); }
  void add_file(const std::string& path, std::string_view content) const {
    std::filesystem::create_directories(std::filesystem::path(path_ + path).parent_path());
    std::ofstream(path_ + path) << content;
  }
  /// What /proc/self/ns/cgroup points to in the namespace the machine booted in, or in another one.
  void set_cgroup_namespace(std::string_view target) const {
    std::filesystem::create_directories(path_ + "/proc/self/ns");
    std::filesystem::create_symlink(target, path_ + "/proc/self/ns/cgroup");
  }

 private:
  std::string path_;
};

}  // namespace stallscope::census
