// SPDX-License-Identifier: Apache-2.0
#include "bpf/load.h"

#include <bpf/libbpf.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <mutex>

namespace stallscope::bpf {
namespace {

constexpr std::size_t kept_message_count = 3;

struct MessageLog {
  std::mutex mutex;
  std::deque<std::string> lines;
};

MessageLog& message_log() {
  static MessageLog log;
  return log;
}

int keep_message(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN) {
    return 0;
  }
  std::array<char, 512> buffer{};
  const int length = std::vsnprintf(buffer.data(), buffer.size(), format, arguments);
  std::string line(buffer.data());
  while (!line.empty() && line.back() == '\n') {
    line.pop_back();
  }
  MessageLog& log = message_log();
  const std::lock_guard lock(log.mutex);
  log.lines.push_back(std::move(line));
  if (log.lines.size() > kept_message_count) {
    log.lines.pop_front();
  }
  return length;
}

}  // namespace

void capture_library_messages() {
  libbpf_set_print(keep_message);
}

std::string last_messages() {
  MessageLog& log = message_log();
  const std::lock_guard lock(log.mutex);
  std::string joined;
  for (const std::string& line : log.lines) {
    joined += (joined.empty() ? "" : "; ") + line;
  }
  log.lines.clear();
  return joined;
}

}  // namespace stallscope::bpf
