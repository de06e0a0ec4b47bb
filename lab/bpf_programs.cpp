// SPDX-License-Identifier: Apache-2.0
#include "lab/bpf_programs.h"

#include <fmt/format.h>

#include "bpf/load.h"

namespace stallscope::lab {

base::Error program_error(const Fault& fault, std::string_view step, int errno_value) {
  std::string reason = fmt::format("cannot {} its BPF program: {}", step, base::errno_error("", "", errno_value).reason);
  if (const std::string said = bpf::last_messages(); !said.empty()) {
    reason += " (" + said + ")";
  }
  return base::Error{"run fault", std::string(fault.id), reason, "This kernel may not allow what the fault needs."};
}

}  // namespace stallscope::lab
