// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace stallscope::bpf {

/// Routes libbpf's messages of this process away from stderr: they are kept, and last_messages() returns the latest few lines for
/// an error's reason. Called before the first use of libbpf.
void capture_library_messages();
/// The last lines libbpf said, oldest first, joined by "; ". Empty where it said nothing since the last call.
[[nodiscard]] std::string last_messages();

}  // namespace stallscope::bpf
