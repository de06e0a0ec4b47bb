// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bpf/libbpf.h>

#include <string_view>

#include "base/result.h"
#include "lab/faults/fault.h"

namespace stallscope::lab {

/// Who needs a program, for errors: "run fault", "irq-off-section".
struct ProgramUser {
  std::string_view action;
  std::string_view object;

  ProgramUser(std::string_view user_action, std::string_view user_object) : action(user_action), object(user_object) {}
  // NOLINTNEXTLINE(google-explicit-constructor): a fault is who needs a program, in nearly every place
  ProgramUser(const Fault& fault) : action("run fault"), object(fault.id) {}
};

/// "cannot run fault irq-off-section: its BPF program does not load: ...", with what libbpf said and how to see more.
[[nodiscard]] base::Error program_error(const ProgramUser& user, std::string_view step, int errno_value);

/// Attaches the program of a descriptor to a device's way in or out (BPF_TC_INGRESS, BPF_TC_EGRESS). Hook and program go with the
/// device, and that with the namespace it is in.
[[nodiscard]] base::Status attach_tc_program(const ProgramUser& user, int program_fd, int interface_index,
                                             bpf_tc_attach_point where);

}  // namespace stallscope::lab
