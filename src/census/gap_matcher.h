// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>

#include <string>
#include <string_view>

#include "evidence/records.h"

namespace stallscope::census {

/// Matches gaps of which one is about `what`.
inline auto gap_about(std::string_view what) {
  return testing::Contains(testing::Field(&evidence::GapRecord::what, std::string(what)));
}

}  // namespace stallscope::census
