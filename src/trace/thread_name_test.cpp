// SPDX-License-Identifier: Apache-2.0
#include "trace/thread_name.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace stallscope::trace {
namespace {

trace_thread thread_of(const std::string& name) {
  std::array<char, TRACE_COMM_BYTES> comm{};
  name.copy(comm.data(), comm.size() - 1);
  __u64 word = 0;
  std::memcpy(&word, comm.data(), sizeof word);
  return trace_thread_of_name(word);
}

// ksoftirqd/0 exists on every kernel, in every PID namespace that shows kernel threads; kthreadd's children are what is looked at.
TEST(ThreadName, EveryKsoftirqdOfThisKernelIsOneAndNoOtherThreadIs) {
  int ksoftirqds = 0;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(process.path() / "comm");
    std::string name;
    if (!std::getline(file, name)) {
      continue;
    }
    const bool is_ksoftirqd = name.starts_with("ksoftirqd/");
    ksoftirqds += is_ksoftirqd ? 1 : 0;
    EXPECT_EQ(thread_of(name) == TRACE_THREAD_KSOFTIRQD, is_ksoftirqd) << name;
  }
  if (ksoftirqds == 0) {
    GTEST_SKIP() << "this PID namespace does not show the kernel's threads";
  }
}

TEST(ThreadName, NamesAreToldApart) {
  EXPECT_EQ(thread_of("ksoftirqd/0"), TRACE_THREAD_KSOFTIRQD);
  EXPECT_EQ(thread_of("ksoftirqd/127"), TRACE_THREAD_KSOFTIRQD);
  EXPECT_EQ(thread_of("napi/eth0-8193"), TRACE_THREAD_NAPI);
  EXPECT_EQ(thread_of("napi/"), TRACE_THREAD_NAPI);
  EXPECT_EQ(thread_of("napi"), TRACE_THREAD_OTHER);
  EXPECT_EQ(thread_of("ksoftir"), TRACE_THREAD_OTHER);
  EXPECT_EQ(thread_of("kworker/0:1"), TRACE_THREAD_OTHER);
  EXPECT_EQ(thread_of(""), TRACE_THREAD_OTHER);
}

}  // namespace
}  // namespace stallscope::trace
