// SPDX-License-Identifier: Apache-2.0
#include "host/capabilities.h"

#include <string>

#include "base/text.h"
#include "host/numbers.h"

namespace stallscope::host {
namespace {

std::optional<int> read_setting(const FileTree& files, std::string_view path) {
  const std::optional<std::string> line = files.read_line(path);
  return line ? parse_number<int>(*line) : std::nullopt;
}

}  // namespace

bool Capabilities::has(Capability capability) const {
  return effective && ((*effective >> static_cast<unsigned>(capability)) & 1U) != 0;
}

bool Capabilities::can_trace() const {
  // Under confidentiality, programs may not read kernel memory (LOCKDOWN_BPF_READ_KERNEL, Linux 5.4).
  return lockdown != Lockdown::confidentiality &&
         (has(Capability::sys_admin) || (has(Capability::bpf) && has(Capability::perfmon)));
}

bool Capabilities::can_sample_cpus() const {
  // perf_allow_cpu(): events of a whole CPU need the capability from paranoid level 1 on.
  return has(Capability::perfmon) || has(Capability::sys_admin) || perf_event_paranoid.value_or(2) < 1;
}

bool Capabilities::can_see_kernel_addresses() const {
  switch (kptr_restrict.value_or(1)) {
    case 0:
      return perf_event_paranoid.value_or(2) <= 1 || has(Capability::syslog);
    case 1:
      return has(Capability::syslog);
    default:
      return false;
  }
}

Lockdown parse_lockdown(std::string_view text) {
  for (const std::string_view word : base::split_fields(text)) {
    if (word == "[none]") {
      return Lockdown::none;
    }
    if (word == "[integrity]") {
      return Lockdown::integrity;
    }
    if (word == "[confidentiality]") {
      return Lockdown::confidentiality;
    }
  }
  return Lockdown::unknown;
}

Capabilities read_capabilities(const FileTree& files) {
  Capabilities capabilities;
  if (const base::Result<std::string> status = files.read("/proc/self/status")) {
    for (const std::string_view line : base::split(*status, '\n')) {
      const std::vector<std::string_view> fields = base::split_fields(line);
      if (fields.size() == 2 && fields[0] == "CapEff:") {
        capabilities.effective = parse_number<std::uint64_t>(fields[1], 16);
      } else if (fields.size() == 5 && fields[0] == "Uid:") {
        capabilities.effective_uid = parse_number<std::uint32_t>(fields[2]);
      }
    }
  }
  capabilities.kptr_restrict = read_setting(files, "/proc/sys/kernel/kptr_restrict");
  capabilities.perf_event_paranoid = read_setting(files, "/proc/sys/kernel/perf_event_paranoid");
  capabilities.unprivileged_bpf_disabled = read_setting(files, "/proc/sys/kernel/unprivileged_bpf_disabled");
  capabilities.lockdown = parse_lockdown(files.read_line("/sys/kernel/security/lockdown").value_or(""));
  return capabilities;
}

}  // namespace stallscope::host
