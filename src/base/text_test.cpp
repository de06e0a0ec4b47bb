// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::base {
namespace {

TEST(Printable, KeepsTextAndEscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("kube-proxy \u00e9\u4e2d"), "kube-proxy \u00e9\u4e2d");
  EXPECT_EQ(printable("a\x1b[31mred\n"), "a\\x1b[31mred\\x0a");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
}

TEST(Printable, RefusesInvalidAndReorderingUtf8) {
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");             // overlong '/'
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");    // surrogate
  EXPECT_EQ(printable("\xe2\x80\xae!"), "\\xe2\\x80\\xae!");  // right-to-left override
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");             // C1 control sequence introducer
  EXPECT_EQ(printable("\xe4\xb8"), "\\xe4\\xb8");             // cut short
}

TEST(Shorten, KeepsTheEndOfAPath) {
  EXPECT_EQ(shorten("short", 10), "short");
  const std::string shortened = shorten("/sys/fs/cgroup/memory/kubepods/burstable/memory.stat", 30);
  EXPECT_EQ(shortened.size(), 30U);
  EXPECT_TRUE(shortened.ends_with("memory.stat")) << shortened;
}

TEST(Wrap, BreaksAtSpacesAndIndentsWhatFollows) {
  EXPECT_EQ(wrap("one two three", 8, 2), "one two\n  three");
  EXPECT_EQ(wrap("unbreakable word", 4, 2), "unbreakable\n  word");
  EXPECT_EQ(wrap("four more", 20, 4), "four more") << "a first word as long as the indent";
}

TEST(Split, FieldsDropBlanksButPartsKeepThem) {
  EXPECT_THAT(split_fields("  a \t b\n"), testing::ElementsAre("a", "b"));
  EXPECT_THAT(split("a::b", ':'), testing::ElementsAre("a", "", "b"));
}

}  // namespace
}  // namespace stallscope::base
