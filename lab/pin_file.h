// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "host/mounts.h"

namespace stallscope::lab {

/// Where the file is made whose pages pin the zombies: the first of the usual places that a tmpfs is mounted on. Pages of a disk
/// file would be reclaimed within minutes, and the zombies with them.
[[nodiscard]] base::Result<std::string> choose_pin_path(const std::vector<host::Mount>& mounts);

/// Makes the file, which must not exist, for root only. The name lies in a directory anyone may write to: a link or a file that
/// someone else put there is never followed or overwritten.
[[nodiscard]] base::Result<base::OwnedFd> create_pin_file(const std::string& path);

/// What an earlier lab left: none, or the open file. An error when the name is taken by something that no lab made.
[[nodiscard]] base::Result<std::optional<base::OwnedFd>> open_pin_file(const std::string& path);

/// Pages that are in memory for the open file: one per zombie.
[[nodiscard]] base::Result<std::int64_t> count_pages(const base::OwnedFd& file, const std::string& path);

}  // namespace stallscope::lab
