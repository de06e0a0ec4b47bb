// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/types.h>

#include <string>
#include <vector>

#include "census/memcg_tree_record.h"
#include "host/mounts.h"

namespace stallscope::census {

/// The path of a pinning file as this process sees it, from the names the kernel cached. "(deleted)" is appended as in
/// /proc/PID/maps, "..." stands for directories that did not fit; empty where the name is not known.
[[nodiscard]] std::string pinning_file_path(const file_name_reply& reply, std::uint32_t device,
                                            const std::vector<host::Mount>& mounts);

}  // namespace stallscope::census
