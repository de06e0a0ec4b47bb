// SPDX-License-Identifier: Apache-2.0
#include "diagnose/accounting.h"

#include <gtest/gtest.h>

#include <numeric>

#include "diagnose/testing/scenarios.h"

namespace stallscope::diagnose {
namespace {

using evidence::Evidence;
using evidence::Occupant;
using evidence::WaitMode;
using evidence::WaitRecord;
using testing::add_wait;
using testing::ms;
using testing::run_start_ns;
using testing::us;

void hold(WaitRecord& wait, std::int32_t pid, std::int64_t held_ns) {
  Occupant who;
  who.pid = pid;
  who.tgid = pid;
  who.comm = "task";
  who.held_ns = held_ns;
  wait.occupants.push_back(who);
}

std::vector<Share> account_ms(const Evidence& evidence, std::int64_t start_ms, std::int64_t end_ms) {
  std::vector<std::size_t> waits(evidence.waits.size());
  std::iota(waits.begin(), waits.end(), std::size_t{0});
  return account(evidence, run_start_ns + start_ms * ms, run_start_ns + end_ms * ms, waits);
}

std::int64_t sum_ns(const std::vector<Share>& shares) {
  return std::accumulate(shares.begin(), shares.end(), std::int64_t{0},
                         [](std::int64_t sum, const Share& share) { return sum + share.length_ns; });
}

TEST(Account, without_waits_everything_is_unexplained) {
  const Evidence evidence;
  const std::vector<Share> shares = account_ms(evidence, 0, 60);
  ASSERT_EQ(shares.size(), 1U);
  EXPECT_EQ(shares[0].kind, ShareKind::unexplained);
  EXPECT_EQ(shares[0].length_ns, 60 * ms);
}

TEST(Account, divides_a_wait_by_what_each_held) {
  Evidence evidence;
  WaitRecord& wait = add_wait(evidence, 0, WaitMode::softirq_delayed, 0, 100 * ms);
  hold(wait, 1, 70 * ms);
  hold(wait, 2, 30 * ms);
  const std::vector<Share> shares = account_ms(evidence, 0, 100);
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[0].length_ns, 70 * ms);
  EXPECT_EQ(occupant_of(evidence, shares[0])->pid, 1);
  EXPECT_EQ(shares[1].length_ns, 30 * ms);
}

TEST(Account, says_so_where_nobody_was_seen) {
  Evidence evidence;
  hold(add_wait(evidence, 0, WaitMode::ksoftirqd_delayed, 0, 100 * ms), 1, 60 * ms);
  const std::vector<Share> shares = account_ms(evidence, 0, 100);
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[1].kind, ShareKind::unseen);
  EXPECT_EQ(shares[1].length_ns, 40 * ms);
  EXPECT_EQ(occupant_of(evidence, shares[1]), nullptr);
}

TEST(Account, scales_occupants_that_claim_more_than_there_is) {
  Evidence evidence;
  WaitRecord& wait = add_wait(evidence, 0, WaitMode::hard_irqs_off, 0, 90 * ms);
  hold(wait, 1, 90 * ms);
  hold(wait, 2, 90 * ms);
  hold(wait, 3, -5);
  const std::vector<Share> shares = account_ms(evidence, 0, 90);
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[0].length_ns, 45 * ms);
  EXPECT_EQ(sum_ns(shares), 90 * ms);
}

TEST(Account, gives_overlapping_time_to_the_mode_that_says_most) {
  Evidence evidence;
  hold(add_wait(evidence, 0, WaitMode::ksoftirqd_delayed, 0, 100 * ms), 1, 100 * ms);
  hold(add_wait(evidence, 0, WaitMode::hard_irqs_off, 20 * ms, 80 * ms), 2, 60 * ms);
  const std::vector<Share> shares = account_ms(evidence, 0, 100);
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[0].mode, WaitMode::hard_irqs_off);
  EXPECT_EQ(shares[0].length_ns, 60 * ms);
  EXPECT_EQ(shares[1].length_ns, 40 * ms);
}

TEST(Account, a_short_rest_is_catching_up_and_a_long_one_is_not) {
  Evidence evidence;
  hold(add_wait(evidence, 0, WaitMode::hard_irqs_off, 0, 50 * ms), 1, 50 * ms);
  const std::vector<Share> short_rest = account_ms(evidence, 0, 52);
  EXPECT_EQ(short_rest.back().kind, ShareKind::catching_up);
  EXPECT_EQ(short_rest.back().length_ns, 2 * ms);
  const std::vector<Share> long_rest = account_ms(evidence, 0, 53);
  EXPECT_EQ(long_rest.back().kind, ShareKind::unexplained);
  EXPECT_EQ(long_rest.back().length_ns, 3 * ms);
}

TEST(Account, time_before_and_between_waits_is_unexplained) {
  Evidence evidence;
  hold(add_wait(evidence, 0, WaitMode::hard_irqs_off, 10 * ms, 50 * ms), 1, 40 * ms);
  hold(add_wait(evidence, 0, WaitMode::hard_irqs_off, 57 * ms, 99 * ms), 2, 42 * ms);
  const std::vector<Share> shares = account_ms(evidence, 0, 99);
  EXPECT_EQ(shares.back().kind, ShareKind::unexplained);
  EXPECT_EQ(shares.back().length_ns, 17 * ms);
}

TEST(Account, one_task_in_two_waits_is_one_share) {
  Evidence evidence;
  hold(add_wait(evidence, 0, WaitMode::hard_irqs_off, 0, 40 * ms), 1, 40 * ms);
  hold(add_wait(evidence, 0, WaitMode::hard_irqs_off, 40 * ms, 90 * ms), 1, 50 * ms);
  const std::vector<Share> shares = account_ms(evidence, 0, 90);
  ASSERT_EQ(shares.size(), 1U);
  EXPECT_EQ(shares[0].length_ns, 90 * ms);
}

TEST(Account, what_was_stolen_from_a_wait_is_not_its_occupants) {
  Evidence evidence;
  WaitRecord& wait = add_wait(evidence, 0, WaitMode::hard_irqs_off, 0, 100 * ms);
  hold(wait, 1, 100 * ms);
  wait.stolen_ns = 30 * ms;
  // Half of the wait lies in the stall: half of what was stolen, too.
  const std::vector<Share> shares = account_ms(evidence, 0, 50);
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[0].kind, ShareKind::occupant);
  EXPECT_EQ(shares[0].mode, WaitMode::hard_irqs_off);
  EXPECT_EQ(shares[0].length_ns, 35 * ms);
  EXPECT_EQ(shares[1].kind, ShareKind::hypervisor);
  EXPECT_EQ(shares[1].mode, WaitMode::vcpu_stolen);
  EXPECT_EQ(shares[1].length_ns, 15 * ms);
}

TEST(Account, a_moment_stolen_around_a_wait_is_not_told_apart) {
  Evidence evidence;
  WaitRecord& wait = add_wait(evidence, 0, WaitMode::hard_irqs_off, 0, 100 * ms);
  hold(wait, 1, 100 * ms);
  wait.stolen_ns = 1 * ms;
  const std::vector<Share> shares = account_ms(evidence, 0, 100);
  ASSERT_EQ(shares.size(), 1U);
  EXPECT_EQ(shares[0].length_ns, 100 * ms);
}

TEST(Account, more_stolen_than_there_was_is_all_of_it) {
  Evidence evidence;
  WaitRecord& wait = add_wait(evidence, 0, WaitMode::softirq_delayed, 0, 100 * ms);
  hold(wait, 1, 100 * ms);
  wait.stolen_ns = std::numeric_limits<std::int64_t>::max();
  const std::vector<Share> shares = account_ms(evidence, 0, 100);
  ASSERT_EQ(shares.size(), 1U);
  EXPECT_EQ(shares[0].kind, ShareKind::hypervisor);
}

TEST(Account, a_stolen_virtual_cpu_has_no_culprit_on_it) {
  Evidence evidence;
  hold(add_wait(evidence, 0, WaitMode::vcpu_stolen, 0, 40 * ms), 1, 40 * ms);
  const std::vector<Share> shares = account_ms(evidence, 0, 40);
  ASSERT_EQ(shares.size(), 1U);
  EXPECT_EQ(shares[0].kind, ShareKind::hypervisor);
  EXPECT_EQ(occupant_of(evidence, shares[0]), nullptr);
}

}  // namespace
}  // namespace stallscope::diagnose
