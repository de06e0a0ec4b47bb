// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/tracepoint_format.h"

#include <gtest/gtest.h>

namespace stallscope::trace::perf {
namespace {

TEST(TracepointFormat, ReadsNumberAndFields) {
  const auto format = parse_tracepoint_format(
      "name: sched_switch\n"
      "ID: 316\n"
      "format:\n"
      "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
      "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
      "\n"
      "\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n"
      "\tfield:pid_t next_pid;\toffset:56;\tsize:4;\tsigned:1;\n"
      "\tfield:const char * name;\toffset:60;\tsize:8;\tsigned:0;\n"
      "\n"
      "print fmt: \"prev_comm=%s\", REC->prev_comm\n");
  ASSERT_TRUE(format);
  EXPECT_EQ(format->id, 316U);
  EXPECT_EQ(format->field("prev_comm"), (Field{8, 16}));
  EXPECT_EQ(format->field("next_pid"), (Field{56, 4}));
  EXPECT_EQ(format->field("name"), (Field{60, 8}));
  EXPECT_EQ(format->field("next_comm").size_bytes, 0U) << "there is no such field";
}

TEST(TracepointFormat, RefusesWhatHasNoNumber) {
  EXPECT_FALSE(parse_tracepoint_format(""));
  EXPECT_FALSE(parse_tracepoint_format("ID: many\n\tfield:int vec;\toffset:8;\tsize:4;\tsigned:0;\n"));
}

TEST(TracepointFormat, LeavesOutLinesThatMakeNoSense) {
  const auto format = parse_tracepoint_format(
      "ID: 1\n\tfield:int vec;\toffset:x;\tsize:4;\n\tfield:;\toffset:1;\tsize:1;\n\tfield:int far;\toffset:70000;\tsize:4;\n");
  ASSERT_TRUE(format);
  EXPECT_TRUE(format->fields.empty());
}

}  // namespace
}  // namespace stallscope::trace::perf
