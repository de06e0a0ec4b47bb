// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace stallscope::diagnose {

/// "read", "pread64", ...; "syscall N" for a number that is not in the table. x86_64 (arch/x86/entry/syscalls/syscall_64.tbl, whose
/// numbers never change).
[[nodiscard]] std::string syscall_name(std::int32_t number);
/// Whether the first argument of the system call is a file descriptor.
[[nodiscard]] bool syscall_takes_descriptor(std::int32_t number);
/// read, pread64, readv, preadv or preadv2.
[[nodiscard]] bool syscall_reads_file(std::int32_t number);

}  // namespace stallscope::diagnose
