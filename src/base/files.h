// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/owned_fd.h"
#include "base/result.h"

namespace stallscope::base {

/// The whole of a file of /proc, /sys or of a small text file. Reads until end of file; refuses more than 64 MiB.
[[nodiscard]] Result<std::string> read_file(const std::string& path);
/// Writes `text` in one write(2), as control files of the kernel expect; the file must exist.
[[nodiscard]] Status write_file(const std::string& path, std::string_view text);
/// open(2) with O_CLOEXEC.
[[nodiscard]] Result<OwnedFd> open_file(const std::string& path, int flags, unsigned mode = 0);

}  // namespace stallscope::base
