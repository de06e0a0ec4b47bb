// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/text.h"

namespace stallscope::cli {
namespace {

/// errno of the first write to standard output that failed.
int output_errno = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): it belongs to stdout, which is global too

void note_failure() {
  if (output_errno == 0) {
    output_errno = errno;
  }
}

/// By the environment alone: the program itself does not use locales.
bool locale_is_utf8() {
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') {
      const std::string_view locale(value);
      return locale.find("UTF-8") != std::string_view::npos || locale.find("utf8") != std::string_view::npos;
    }
  }
  return false;
}

}  // namespace

Terminal describe_terminal(int fd) {
  constexpr unsigned narrowest = 40;
  Terminal terminal;
  terminal.utf8 = locale_is_utf8();
  terminal.interactive = ::isatty(fd) == 1;
  if (!terminal.interactive) {
    return terminal;
  }
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const type = std::getenv("TERM");
  terminal.colour = (no_color == nullptr || *no_color == '\0') && type != nullptr && std::string_view(type) != "dumb";
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= narrowest) {
    terminal.width = size.ws_col;
  }
  return terminal;
}

std::string entry(std::string_view label, std::string_view text, std::size_t indent, std::size_t width) {
  const std::string margin(indent, ' ');
  std::string out(label);
  out += label.size() + 1 > indent ? "\n" + margin : margin.substr(label.size());
  for (const char character : base::wrap(text, width - indent, 0)) {
    out += character;
    if (character == '\n') {
      out += margin;
    }
  }
  return out;
}

void print_out(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    note_failure();
  }
}

base::Status finish_output() {
  errno = 0;
  if (std::fflush(stdout) != 0) {
    note_failure();
  }
  if (output_errno == 0 || output_errno == EPIPE) {
    return base::ok();
  }
  return base::errno_error("write", "standard output", output_errno, "Free some space or write somewhere else.");
}

void print_error(const base::Error& error) {
  const std::string text = "stallscope: " + error.message() + "\n";
  // Where even standard error cannot be written, the exit status still tells.
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
}

}  // namespace stallscope::cli
