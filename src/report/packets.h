// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "diagnose/diagnosis.h"
#include "report/text.h"

namespace stallscope::report {

/// What each late probe (with TextOptions::all each probe) took and where that went, and below it what the receiving kernel saw of
/// its packets: leg, device, CPU, queue, how long it stood in the queue, and in whose context it was served. Pure; lines and names
/// as in render_text().
[[nodiscard]] std::string render_packets(const evidence::Evidence& evidence, const diagnose::Diagnosis& diagnosis,
                                         const TextOptions& options);

/// "hard IRQs off", "network", ...: as the report prints it.
[[nodiscard]] std::string_view late_part_title(const diagnose::LatePart& part);
/// "hard_irqs_off", "network", ...: as the JSON names it.
[[nodiscard]] std::string_view late_part_id(const diagnose::LatePart& part);
/// "hard IRQs off 52.9 ms (99 %), network 0.2 ms (0.4 %)"
[[nodiscard]] std::string late_parts_text(const std::vector<diagnose::LatePart>& parts);

}  // namespace stallscope::report
