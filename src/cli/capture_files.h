// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "capture/annotate.h"
#include "cli/capture_conclusion.h"

// Files that `stallscope capture` writes. Each is there whole or not at all.
namespace stallscope::cli {

[[nodiscard]] base::Status write_capture_bundle(const evidence::Evidence& evidence, const std::string& path);
/// A line for each exchange that was kept, in order of sending.
[[nodiscard]] base::Status write_exchanges_csv(const capture::Findings& findings, const std::string& path);
/// A line for each flow, in order of appearance; of those beyond the limit one, without addresses.
[[nodiscard]] base::Status write_flows_csv(ReadCapture& read, const std::vector<HeldExchange>& held, const std::string& path);
/// The capture again, with what is held to be said about its packets.
[[nodiscard]] base::Result<capture::Annotated> write_annotated(const ReadCapture& read, const CaptureOutcome& outcome,
                                                               const std::vector<HeldExchange>& held, const std::string& path,
                                                               const std::function<bool()>& interrupted);
/// RTTs against time.
[[nodiscard]] base::Status write_plot(const ReadCapture& read, const CaptureOutcome& outcome, const std::vector<HeldExchange>& held,
                                      const std::string& path);

}  // namespace stallscope::cli
