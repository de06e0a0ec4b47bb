// SPDX-License-Identifier: Apache-2.0
#include "cli/flow_names.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace stallscope::cli {

std::vector<report::FlowName> flow_names(const std::vector<evidence::FlowRecord>& flows) {
  std::vector<report::FlowName> names;
  for (const evidence::FlowRecord& flow : flows) {
    const std::string_view kind = evidence::probe_kind_id(flow.kind);
    names.push_back({flow.target_port == 0 ? std::string(kind) : fmt::format("{}:{}", kind, flow.target_port),
                     flow.source_port == 0 ? "" : fmt::format("{}", flow.source_port)});
  }
  return names;
}

}  // namespace stallscope::cli
