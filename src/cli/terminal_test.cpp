// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <cstdlib>

#include "base/files.h"

namespace stallscope::cli {
namespace {

TEST(Entry, WrapsBesideTheLabel) {
  EXPECT_EQ(entry("  name", "one two three", 8, 16), "  name  one two\n        three");
}

TEST(Entry, ALongLabelStandsAlone) {
  EXPECT_EQ(entry("a-long-label", "text", 4, 20), "a-long-label\n    text");
  EXPECT_EQ(entry("abc", "text", 4, 20), "abc text") << "one space is enough";
  EXPECT_EQ(entry("abcd", "text", 4, 20), "abcd\n    text");
}

TEST(DescribeTerminal, AFileIsNoTerminal) {
  const base::Result<base::OwnedFd> file = base::open_file("/dev/null", O_WRONLY);
  ASSERT_TRUE(file);
  const Terminal terminal = describe_terminal(file->get());
  EXPECT_FALSE(terminal.interactive);
  EXPECT_FALSE(terminal.colour);
  EXPECT_EQ(terminal.width, 80U);
}

TEST(DescribeTerminal, TheFirstLocaleThatIsSetSaysWhetherItIsUtf8) {
  const auto utf8_with = [](const char* all, const char* lang) {
    ::setenv("LC_ALL", all, 1);
    ::unsetenv("LC_CTYPE");
    ::setenv("LANG", lang, 1);
    return describe_terminal(-1).utf8;
  };
  EXPECT_TRUE(utf8_with("", "de_DE.UTF-8"));
  EXPECT_TRUE(utf8_with("C.utf8", "C"));
  EXPECT_FALSE(utf8_with("C", "de_DE.UTF-8"));
  EXPECT_FALSE(utf8_with("", ""));
}

TEST(DescribeTerminal, ATerminalSaysItsWidthAndNoColorIsObeyed) {
  const base::OwnedFd controller(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(controller);
  ASSERT_EQ(::grantpt(controller.get()), 0);
  ASSERT_EQ(::unlockpt(controller.get()), 0);
  winsize size{};
  size.ws_col = 132;
  ASSERT_EQ(::ioctl(controller.get(), TIOCSWINSZ, &size), 0);
  const base::Result<base::OwnedFd> user = base::open_file(::ptsname(controller.get()), O_RDWR | O_NOCTTY);
  ASSERT_TRUE(user) << user.error().message();

  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  EXPECT_TRUE(describe_terminal(user->get()).interactive);
  EXPECT_TRUE(describe_terminal(user->get()).colour);
  EXPECT_EQ(describe_terminal(user->get()).width, 132U);
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(describe_terminal(user->get()).colour);
  ::setenv("NO_COLOR", "", 1);
  EXPECT_TRUE(describe_terminal(user->get()).colour) << "only a value counts";
  ::setenv("TERM", "dumb", 1);
  EXPECT_FALSE(describe_terminal(user->get()).colour);
}

}  // namespace
}  // namespace stallscope::cli
