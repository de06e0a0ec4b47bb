// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "lab/faults/memcg-stat-flush/fault.h"

namespace stallscope::lab::memcg_stat_flush {
namespace {

TEST(MemcgStatFlush, ALengthIsMadeOfZombiesUpToWhatTheKernelHas) {
  EXPECT_EQ(fault.settings_for(10 * base::ns_per_ms).find("zombies"), 10'000);
  EXPECT_EQ(fault.settings_for(50 * base::ns_per_ms).find("zombies"), 50'000);
  EXPECT_EQ(fault.settings_for(500 * base::ns_per_ms).find("zombies"), 60'000);
}

}  // namespace
}  // namespace stallscope::lab::memcg_stat_flush
