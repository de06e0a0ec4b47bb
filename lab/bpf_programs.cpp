// SPDX-License-Identifier: Apache-2.0
#include "lab/bpf_programs.h"

#include <fmt/format.h>

#include "bpf/load.h"

namespace stallscope::lab {

base::Error program_error(const ProgramUser& user, std::string_view step, int errno_value) {
  std::string reason = fmt::format("cannot {} its BPF program: {}", step, base::errno_error("", "", errno_value).reason);
  if (const std::string said = bpf::last_messages(); !said.empty()) {
    reason += " (" + said + ")";
  }
  return base::Error{std::string(user.action), std::string(user.object), reason, "This kernel may not allow what it needs."};
}

base::Status attach_tc_program(const ProgramUser& user, int program_fd, int interface_index, bpf_tc_attach_point where) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = interface_index;
  hook.attach_point = where;
  if (const int error = bpf_tc_hook_create(&hook); error != 0) {
    return program_error(user, "make a hook (CONFIG_NET_SCH_INGRESS) for", -error);
  }
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.prog_fd = program_fd;
  if (const int error = bpf_tc_attach(&hook, &options); error != 0) {
    return program_error(user, "attach (CONFIG_NET_CLS_BPF)", -error);
  }
  return base::ok();
}

}  // namespace stallscope::lab
