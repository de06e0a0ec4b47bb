// SPDX-License-Identifier: Apache-2.0
#include "bisect/path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bisect/path_file.h"

namespace stallscope::bisect {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ParseRung, TakesNameTargetAndLayersApart) {
  const base::Result<Rung> rung = parse_rung("pod by HTTP=http://10.9.0.2:8080/a?x=1 via overlay, node");
  ASSERT_TRUE(rung) << rung.error().message();
  EXPECT_EQ(rung->name, "pod by HTTP");
  EXPECT_EQ(rung->target, "http://10.9.0.2:8080/a?x=1");
  EXPECT_THAT(rung->layers, ElementsAre("overlay", "node"));
}

TEST(ParseRung, SaysWhatIsMissing) {
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{{"10.0.1.2 via node", "'='"},
                                                                                     {"pod=10.0.1.2", "'via'"},
                                                                                     {"a via b=10.0.1.2", "'via'"},
                                                                                     {"pod=10.0.1.2 via ", "a layer is empty"},
                                                                                     {"pod=10.0.1.2 via a,,b", "a layer is empty"},
                                                                                     {"=10.0.1.2 via node", "name"},
                                                                                     {"p\x1b[31m=10.0.1.2 via node", "name"},
                                                                                     {"pod= via node", "what to probe"}}) {
    const base::Result<Rung> rung = parse_rung(text);
    ASSERT_FALSE(rung) << text;
    EXPECT_THAT(rung.error().message(), HasSubstr(reason)) << text;
  }
}

TEST(ParseRung, KnowsWhoSends) {
  const base::Result<Rung> rung = parse_rung("back=icmp://10.0.1.1 from ssh:root@node7 via node");
  ASSERT_TRUE(rung) << rung.error().message();
  EXPECT_EQ(rung->target, "icmp://10.0.1.1");
  EXPECT_EQ(rung->from, "ssh:root@node7");
  EXPECT_FALSE(parse_rung("back=icmp://10.0.1.1 from  via node"));
}

TEST(WithControl, AddsThisHostAndItsLayer) {
  const Path path = with_control(Path{{{.name = "node", .target = "10.0.1.2", .layers = {"node"}}}});
  ASSERT_EQ(path.rungs.size(), 2U);
  EXPECT_THAT(path.rungs[0].layers, ElementsAre("node", "sender"));
  EXPECT_THAT(path.rungs[1].layers, ElementsAre("sender"));
  EXPECT_EQ(path.crossing("node"), RungSet("01"));
  EXPECT_EQ(path.crossing("sender"), RungSet("11"));
}

TEST(Check, RefusesWhatCannotBeCompared) {
  const Rung good{.name = "node", .target = "10.0.1.2", .layers = {"node"}};
  EXPECT_TRUE(check(Path{{good}}));
  EXPECT_FALSE(check(Path{}));
  EXPECT_FALSE(check(Path{{good, good}}));
  EXPECT_FALSE(check(Path{std::vector<Rung>(32, good)}));
  EXPECT_FALSE(check(Path{{{.name = "node", .target = "10.0.1.2", .layers = {}}}}));
  EXPECT_FALSE(check(Path{{{.name = "this host", .target = "10.0.1.2", .layers = {"node"}}}}));
}

constexpr const char* file = R"(# A comment
rungs:
  - name: service
    probe: http://10.0.1.2:30080/
    via: [nat, overlay, node]
  - name: node by ICMP
    probe: 10.0.1.2
    via:
      - node
)";

TEST(PathFile, IsReadAndWritten) {
  const base::Result<Path> path = parse_path_file(file, "path.yaml");
  ASSERT_TRUE(path) << path.error().message();
  ASSERT_EQ(path->rungs.size(), 2U);
  EXPECT_EQ(path->rungs[0].target, "http://10.0.1.2:30080/");
  EXPECT_THAT(path->rungs[0].layers, ElementsAre("nat", "overlay", "node"));
  EXPECT_EQ(path->rungs[1].name, "node by ICMP");
  const std::string written = write_path_file(*path, {"it's", "", "two\nlines"});
  EXPECT_THAT(written, HasSubstr("# it's\n#\n# two\\x0alines\nrungs:\n"));
  EXPECT_THAT(written, Not(HasSubstr("from:")));
  const base::Result<Path> again = parse_path_file(written, "again");
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->rungs[0].layers, path->rungs[0].layers);
  EXPECT_EQ(again->rungs[1].target, path->rungs[1].target);
}

TEST(PathFile, KeepsWhoSends) {
  const base::Result<Path> path =
      parse_path_file("rungs: [{name: back, probe: 10.0.1.1, from: 'ssh:node7', via: [node]}]", "path.yaml");
  ASSERT_TRUE(path) << path.error().message();
  EXPECT_EQ(path->rungs[0].from, "ssh:node7");
  const base::Result<Path> again = parse_path_file(write_path_file(*path, {}), "again");
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->rungs[0].from, "ssh:node7");
}

TEST(PathFile, ErrorsNameLineAndField) {
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {"rungs:\n  - name: a\n    prob: x\n", "path.yaml, line 3, field 'prob'"},
           {"rungs:\n  - name: a\n    via: [b]\n", "line 2, field 'probe'"},
           {"rungs:\n  - name: a\n    probe: x\n", "line 2, field 'via'"},
           {"rungs:\n  - name: a\n    probe: x\n    via: b\n", "line 4, field 'via'"},
           {"rungs:\n  - name: a\n    probe: x\n    via: [b,\n      [c]]\n", "line 5, field 'via'"},
           {"rungs:\n  - name: a\n    name: b\n", "line 3, field 'name'"},
           {"rungs:\n  - a\n", "line 2, field 'rungs'"},
           {"rungs: 5\n", "line 1, field 'rungs'"},
           {"rung: []\n", "line 1, field 'rung'"},
           {"- a\n", "line 1"},
           {"rungs:\n  - name: [\n", "path.yaml, line"},
           {"", "path.yaml"},
           {"a: &a [*a, *a]\n", "field 'a'"},
           {std::string(70'000, '['), "64 KiB"},
           {std::string(60'000, '['), "path.yaml"}}) {
    const base::Result<Path> path = parse_path_file(text, "path.yaml");
    ASSERT_FALSE(path) << text.substr(0, 60);
    EXPECT_THAT(path.error().message(), HasSubstr(said)) << text.substr(0, 60);
  }
}

}  // namespace
}  // namespace stallscope::bisect
