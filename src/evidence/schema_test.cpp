// SPDX-License-Identifier: Apache-2.0
#include "evidence/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "evidence/test_evidence.h"

namespace stallscope::evidence {
namespace {

TEST(Schema, DocumentationShowsEveryStatement) {
  const std::string page = value_of(base::read_file(STALLSCOPE_SOURCE_DIR "/docs/bundle.md"));
  for (const std::string& statement : create_statements()) {
    EXPECT_THAT(page, testing::HasSubstr(statement + ";\n"));
  }
}

TEST(Schema, FileDocumentsItself) {
  const TemporaryDirectory directory = test_directory();
  const std::string path = directory.path() + "/run.stall";
  write_evidence(path, {});
  EXPECT_THAT(query_text(path, "SELECT sql FROM sqlite_schema WHERE name = 'probe'"),
              testing::HasSubstr(
                  "received_ns INTEGER NOT NULL CHECK (received_ns >= -1), -- the kernel's receive timestamp; -1: no reply"));
}

TEST(Schema, RefusesImpossibleValuesFromOtherPrograms) {
  const TemporaryDirectory directory = test_directory();
  const std::string path = directory.path() + "/run.stall";
  write_evidence(path, complete_evidence());
  for (const char* const change :
       {"UPDATE probe SET received_ns = -2", "UPDATE wait SET mode = 'bored'", "UPDATE run SET traced = 2",
        "UPDATE wait SET cpu = 70000", "UPDATE run SET id = 2", "UPDATE slab SET cache = NULL", "UPDATE probe SET sent_ns = 'soon'",
        "UPDATE wait SET end_ns = 0"}) {
    EXPECT_ANY_THROW(tamper(path, change)) << change;
  }
}

}  // namespace
}  // namespace stallscope::evidence
