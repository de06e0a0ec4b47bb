// SPDX-License-Identifier: Apache-2.0
#include "evidence/syscalls.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

namespace stallscope::evidence {
namespace {

TEST(Syscalls, names_those_of_the_table_and_prints_the_number_of_others) {
  EXPECT_EQ(syscall_name(SYS_read), "read");
  EXPECT_EQ(syscall_name(SYS_pread64), "pread64");
  EXPECT_EQ(syscall_name(SYS_getdents64), "getdents64");
  EXPECT_EQ(syscall_name(SYS_preadv2), "preadv2");
  EXPECT_EQ(syscall_name(SYS_clone3), "clone3");
  EXPECT_EQ(syscall_name(999), "syscall 999");
  EXPECT_EQ(syscall_name(-1), "syscall -1");
}

TEST(Syscalls, knows_which_take_a_descriptor_first) {
  EXPECT_TRUE(syscall_takes_descriptor(SYS_read));
  EXPECT_TRUE(syscall_takes_descriptor(SYS_ioctl));
  EXPECT_FALSE(syscall_takes_descriptor(SYS_futex));
  EXPECT_FALSE(syscall_takes_descriptor(999));
}

TEST(Syscalls, are_found_by_the_function_that_implements_them) {
  EXPECT_EQ(syscall_of_function("read"), SYS_read);
  EXPECT_EQ(syscall_of_function("newstat"), SYS_stat);
  EXPECT_EQ(syscall_of_function("newfstatat"), SYS_newfstatat);
  EXPECT_EQ(syscall_of_function("call"), std::nullopt);
}

TEST(Syscalls, knows_which_read_a_file) {
  EXPECT_TRUE(syscall_reads_file(SYS_readv));
  EXPECT_TRUE(syscall_reads_file(SYS_preadv2));
  EXPECT_FALSE(syscall_reads_file(SYS_write));
}

}  // namespace
}  // namespace stallscope::evidence
