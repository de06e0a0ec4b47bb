// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "evidence/records.h"

// What render_json is made of.
namespace stallscope::report {

/// Members stay in the order in which docs/json.md lists them.
using Json = nlohmann::ordered_json;

template <typename Value>
[[nodiscard]] Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// Sockets whose processes were behind: the member "sockets".
[[nodiscard]] Json sockets_json(const evidence::Evidence& evidence);
/// Cgroups that used up their CPU quota: the member "throttled_cgroups".
[[nodiscard]] Json throttled_cgroups_json(const evidence::Evidence& evidence);
/// What the host was like: the member "census".
[[nodiscard]] Json census_json(const evidence::Evidence& evidence);

}  // namespace stallscope::report
