// SPDX-License-Identifier: Apache-2.0
#include "cli/man_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stallscope::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(EscapeRoff, LeavesNothingForRoffToInterpret) {
  EXPECT_EQ(escape_roff("--for 20s"), "\\-\\-for 20s");
  EXPECT_EQ(escape_roff("a\\b"), "a\\(rsb");
  EXPECT_EQ(escape_roff(".SH\n'b\n."), "\\&.SH\n\\&\\(aqb\n\\&.");
  EXPECT_EQ(escape_roff("a.b"), "a.b");
  EXPECT_EQ(escape_roff("~^`\""), "\\(ti\\(ha\\(ga\\(dq");
  EXPECT_EQ(escape_roff("\u00b1 \u20ac \U0001f600"), "\\[u00B1] \\[u20AC] \\[u1F600]");
}

class ManPage : public ::testing::Test {
 protected:
  ManPage() {
    lab->add_option("FAULT", text, "Which fault")->required();
    lab->add_option("-c,--cpu", text, "CPU to stall")->type_name("N")->default_str("1");
    lab->add_flag("--secret", flag, "Never shown")->group("");
    lab->add_subcommand("down", "Remove everything")->add_flag("--force", flag, "Even if in use");
    lab->footer("EXAMPLES\n  Make a fault\n    stallscope lab up\n\n  .hidden\nNOTES\n  None");
    app.add_subcommand("secret", "Hidden")->group("");
  }
  CLI::App app{"The whole. More.", "stallscope"};
  CLI::App* lab = app.add_subcommand("lab", "Reproduce a fault. At length.");
  std::string text;
  bool flag = false;
};

TEST_F(ManPage, OfACommandHasItsOptionsAndFooter) {
  const std::string page = man_page(app, *lab);
  EXPECT_THAT(page, HasSubstr(".SH NAME\nstallscope\\-lab \\- Reproduce a fault\n"));
  EXPECT_THAT(page, HasSubstr("\\fBstallscope lab\\fR [\\fIOPTIONS\\fR] \\fIFAULT\\fR \\fICOMMAND\\fR ..."));
  EXPECT_THAT(page, HasSubstr(".TP\n\\fB\\-c\\fR, \\fB\\-\\-cpu\\fR \\fIN\\fR\nCPU to stall (default: 1)\n"));
  EXPECT_THAT(page, HasSubstr(".SS down\n"));
  EXPECT_THAT(page, HasSubstr("\\fB\\-\\-force\\fR\n"));
  EXPECT_THAT(page, HasSubstr(".SH EXAMPLES\n.nf\nMake a fault\n  stallscope lab up\n\\&\n\\&.hidden\n.fi\n.SH NOTES\n"));
  EXPECT_THAT(page, Not(HasSubstr("secret")));
}

TEST_F(ManPage, OfTheToolListsTheCommands) {
  const std::string page = man_page(app, app);
  EXPECT_THAT(page, HasSubstr(".SH COMMANDS\n.TP\n\\fBlab\\fR\nReproduce a fault. See \\fBstallscope\\-lab\\fR(1).\n"));
  EXPECT_THAT(page, HasSubstr(".SH EXIT STATUS\n"));
  EXPECT_THAT(page, Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace stallscope::cli
