// SPDX-License-Identifier: Apache-2.0
#include "host/program.h"

#include <gtest/gtest.h>

namespace stallscope::host {
namespace {

TEST(RunProgram, ReturnsWhatTheProgramPrints) {
  const base::Result<std::string> output = run_program({"printf", "%s|", "no $HOME", "a b"});
  ASSERT_TRUE(output) << output.error().message();
  EXPECT_EQ(*output, "no $HOME|a b|");
}

TEST(RunProgram, AFailureNamesTheCommandAndWhatItSaid) {
  const base::Result<std::string> output = run_program({"ls", "/no/such/directory"});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().object, "ls /no/such/directory");
  EXPECT_NE(output.error().reason.find("No such file or directory"), std::string::npos) << output.error().reason;
}

TEST(RunProgram, ASilentFailureStillHasAReason) {
  const base::Result<std::string> output = run_program({"false"});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().reason, "exit status 1");
}

TEST(RunProgram, AMissingProgramIsNamed) {
  EXPECT_NE(run_program({"no-such-program"}).error().message().find("no-such-program"), std::string::npos);
  EXPECT_FALSE(run_program({}));
}

}  // namespace
}  // namespace stallscope::host
