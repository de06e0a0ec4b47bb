// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "diagnose/diagnosis.h"

namespace stallscope::diagnose {

/// A host always has a few dying memory cgroups; fewer than this are not worth a sentence.
inline constexpr std::int64_t notable_zombie_count = 100;

/// Waits for a disk are shorter; from here on something is likely to hang.
inline constexpr std::int64_t notable_block_ns = 5'000'000'000;

/// What a reader should know beside the findings, as whole sentences.
[[nodiscard]] std::vector<std::string> make_notes(const evidence::Evidence& evidence, const Diagnosis& diagnosis);

/// What the diagnosis itself found missing in the evidence, beside the gaps its collectors recorded.
[[nodiscard]] std::vector<evidence::GapRecord> derived_gaps(const evidence::Evidence& evidence, const Diagnosis& diagnosis,
                                                            std::int64_t unusable_count);

}  // namespace stallscope::diagnose
