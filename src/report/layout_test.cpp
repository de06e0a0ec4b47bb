// SPDX-License-Identifier: Apache-2.0
#include "report/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"

namespace stallscope::report {
namespace {

using ::testing::ElementsAre;

TEST(DisplayWidth, counts_columns_and_not_bytes) {
  EXPECT_EQ(display_width("abc"), 3U);
  EXPECT_EQ(display_width("\xc3\xa9"), 1U);                  // e with acute accent
  EXPECT_EQ(display_width("\xe6\x97\xa5\xe6\x9c\xac"), 4U);  // two Chinese characters
  EXPECT_EQ(display_width("e\xcc\x81"), 1U);                 // e and a combining accent
  EXPECT_EQ(display_width("\xf0\x9f\x98\x80"), 2U);          // an emoji
}

TEST(Fit, keeps_short_text_and_the_end_of_long_text) {
  EXPECT_EQ(fit("memory.stat", 11), "memory.stat");
  EXPECT_EQ(fit("/sys/fs/cgroup/memory/kubepods/memory.stat", 20), "/sys/.../memory.stat");
  EXPECT_EQ(fit("abcdef", 2), "..");
}

TEST(Fit, never_exceeds_the_width_nor_cuts_a_character) {
  const std::string text = "\xe6\x97\xa5\xe6\x9c\xac\xe6\x97\xa5\xe6\x9c\xac\xe6\x97\xa5\xe6\x9c\xac x \xe6\x97\xa5";
  for (std::size_t width = 0; width <= display_width(text); ++width) {
    EXPECT_LE(display_width(fit(text, width)), width) << width;
    EXPECT_EQ(base::printable(fit(text, width)), fit(text, width)) << width;
  }
  EXPECT_EQ(fit(text, 9), "\xe6\x97\xa5...x \xe6\x97\xa5");
}

TEST(Fill, breaks_at_words_and_keeps_numbers_with_their_units) {
  EXPECT_THAT(fill("one read takes 96.7 ms in all", 19), ElementsAre("one read takes", "96.7 ms in all"));
  EXPECT_THAT(fill("", 10), ElementsAre());
  EXPECT_THAT(fill("abcdefghijklmnop", 8), ElementsAre("a...mnop"));
}

TEST(Page, places_labels_and_continues_below_the_text) {
  Page page(80, false);
  page.labelled("for", 2, 8, {"first", "second"});
  EXPECT_EQ(page.take(), "  for   first\n        second\n");
}

TEST(Page, colours_only_when_asked) {
  Page plain(80, false);
  plain.line("text", Emphasis::bold);
  EXPECT_EQ(plain.take(), "text\n");
  Page coloured(80, true);
  coloured.line("text", Emphasis::bold);
  EXPECT_EQ(coloured.take(), "\x1b[1mtext\x1b[0m\n");
}

}  // namespace
}  // namespace stallscope::report
