// SPDX-License-Identifier: Apache-2.0
#include "lab/kernel_needs.h"

#include <bpf/btf.h>
#include <fmt/format.h>
#include <linux/btf.h>

#include <cerrno>
#include <memory>
#include <string>

#include "bpf/load.h"

namespace stallscope::lab {
namespace {

struct BtfDeleter {
  void operator()(btf* types) const { btf__free(types); }
};

bool has(const btf* types, const KernelNeed& need) {
  if (need.kind == KernelNeed::Kind::function) {
    return btf__find_by_name_kind(types, std::string(need.name).c_str(), BTF_KIND_FUNC) > 0;
  }
  return btf__find_by_name_kind(types, fmt::format("btf_trace_{}", need.name).c_str(), BTF_KIND_TYPEDEF) > 0;
}

}  // namespace

base::Status check_kernel_needs(std::string_view fault_id, std::span<const KernelNeed> needs) {
  bpf::capture_library_messages();
  const std::unique_ptr<btf, BtfDeleter> types(btf__load_vmlinux_btf());
  if (!types) {
    return base::errno_error("run fault", std::string(fault_id), errno, "It needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF).");
  }
  for (const KernelNeed& need : needs) {
    if (!has(types.get(), need)) {
      return base::Error{"run fault", std::string(fault_id),
                         fmt::format("this kernel lacks the {} {}",
                                     need.kind == KernelNeed::Kind::function ? "BPF function" : "tracepoint", need.name),
                         fmt::format("{} and later have it.", need.since)};
    }
  }
  return base::ok();
}

}  // namespace stallscope::lab
