// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stallscope::remedy {

/// A change of the kernel that makes what a rule is about cheaper or impossible (docs/kernels.md).
struct KernelFix {
  std::string_view rule_id;
  int major = 0;
  int minor = 0;
  std::string_view what;
  std::string_view commit;
};

/// Those that are not in the release yet by its number, oldest first. Distributions backport: a hint. Empty where the release
/// cannot be read.
[[nodiscard]] std::vector<KernelFix> fixes_after(std::string_view rule_id, std::string_view release);

}  // namespace stallscope::remedy
