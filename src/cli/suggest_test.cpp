// SPDX-License-Identifier: Apache-2.0
#include "cli/suggest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::vector<std::string> commands = {"diagnose", "report", "census", "doctor", "lab"};

TEST(Suggest, FindsWhatAFingerMissed) {
  EXPECT_THAT(suggest("docter", commands), ElementsAre("doctor"));
  EXPECT_THAT(suggest("dagnose", commands), ElementsAre("diagnose"));
  EXPECT_THAT(suggest("alb", commands), ElementsAre("lab")) << "a swap is one slip";
  EXPECT_THAT(suggest("d", commands), ElementsAre("diagnose", "doctor")) << "beginnings";
}

TEST(Suggest, IsSilentAboutAnythingElse) {
  EXPECT_THAT(suggest("", commands), IsEmpty());
  EXPECT_THAT(suggest("frobnicate", commands), IsEmpty());
  EXPECT_THAT(suggest(std::string(100'000, 'd'), commands), IsEmpty());
}

TEST(DidYouMean, ReadsAsASentence) {
  EXPECT_EQ(did_you_mean({}), "");
  EXPECT_EQ(did_you_mean({"a"}), "Did you mean 'a'?");
  EXPECT_EQ(did_you_mean({"a", "b", "c"}), "Did you mean 'a', 'b' or 'c'?");
}

}  // namespace
}  // namespace stallscope::cli
