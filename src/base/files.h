// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
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

/// How many of `count` pages of the file from `first_page` on are in memory; of a file in memory, pages that are swapped out are
/// not. Brings nothing in. The kernel tells the owner of a file, and root, the truth (Linux 5.2, commit 134fca9063ad). `path` is
/// for the error.
[[nodiscard]] Result<std::int64_t> count_cached_pages(const OwnedFd& file, const std::string& path, std::int64_t first_page,
                                                      std::int64_t count);

}  // namespace stallscope::base
