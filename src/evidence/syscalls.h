// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace stallscope::evidence {

/// No system call of x86_64 has a number from here on (arch/x86/entry/syscalls/syscall_64.tbl; 471 in Linux 6.18, x32 apart).
inline constexpr std::int32_t syscall_number_limit = 600;

/// "read" for 0, "syscall 999" for a number that is not in the table. The numbers are those of x86_64, the only architecture
/// recorded.
[[nodiscard]] std::string syscall_name(std::int32_t number);

/// The number of the call that the kernel's function `__x64_sys_NAME` or `sys_NAME` implements.
[[nodiscard]] std::optional<std::int32_t> syscall_of_function(std::string_view name);

/// Whether the first argument is a file descriptor.
[[nodiscard]] bool syscall_takes_descriptor(std::int32_t number);

/// read, pread64, readv, preadv or preadv2.
[[nodiscard]] bool syscall_reads_file(std::int32_t number);

}  // namespace stallscope::evidence
