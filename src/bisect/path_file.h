// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "bisect/path.h"

namespace stallscope::bisect {

/// A path written down in YAML:
///
///   rungs:
///     - name: service
///       probe: http://10.0.1.2:30080/
///       via: [nat, overlay, application, transport, node]
///     - name: back
///       probe: icmp://10.0.1.1
///       from: ssh:node7
///       via: [node]
///
/// Keys other than these are errors, so that a misspelt one is not ignored. Errors name `file_name`, line and field. More than
/// 64 KiB are refused.
[[nodiscard]] base::Result<Path> parse_path_file(const std::string& text, const std::string& file_name);

/// The same file from a path, each line of `comment` first.
[[nodiscard]] std::string write_path_file(const Path& path, const std::vector<std::string>& comment);

}  // namespace stallscope::bisect
