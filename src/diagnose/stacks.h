// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "evidence/records.h"

namespace stallscope::diagnose {

/// The stacks of a bundle, by id.
class StackTable {
 public:
  explicit StackTable(const evidence::Evidence& evidence);
  /// Innermost first; nullptr where there is none.
  [[nodiscard]] const std::vector<std::string>* frames(std::int64_t stack_id) const;

 private:
  std::map<std::int64_t, const std::vector<std::string>*> stacks_;
};

/// "css_rstat_flush" of "css_rstat_flush.isra.0+0x1c/0x80 [module]".
[[nodiscard]] std::string_view function_name(std::string_view frame);

/// The functions that tell something, outermost first: without the entry to the kernel, the interrupt by which the stack was
/// taken, and the unlocking that let it in.
[[nodiscard]] std::vector<std::string_view> telling_functions(const std::vector<std::string>& frames);

/// The innermost telling function that is not the taking of a lock. Empty where there is none.
[[nodiscard]] std::string_view working_function(const std::vector<std::string>& frames);

}  // namespace stallscope::diagnose
