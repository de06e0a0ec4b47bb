// SPDX-License-Identifier: Apache-2.0
#include "lab/run_words.h"

#include <vector>

#include "base/text.h"
#include "host/program.h"

namespace stallscope::lab {

using base::Result;
using base::Status;

Status run_words(std::string_view words) {
  std::vector<std::string> arguments;
  for (const std::string_view word : base::split_fields(words)) {
    arguments.emplace_back(word);
  }
  const Result<std::string> ran = host::run_program(arguments);
  return ran ? base::ok() : Status(ran.error());
}

Status run_all(std::initializer_list<std::string> commands) {
  for (const std::string& command : commands) {
    if (Status ran = run_words(command); !ran) {
      return ran;
    }
  }
  return base::ok();
}

}  // namespace stallscope::lab
