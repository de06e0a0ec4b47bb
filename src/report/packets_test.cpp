// SPDX-License-Identifier: Apache-2.0
#include "report/packets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::report {
namespace {

using diagnose::testing::ms;
using evidence::Evidence;
using ::testing::HasSubstr;
using ::testing::Not;

std::string render(const Evidence& evidence, bool all = false) {
  TextOptions options;
  options.all = all;
  return render_packets(evidence, diagnose::diagnose(evidence), options);
}

/// Five probes of CPU 0 wait for the end of a stretch with interrupts off.
Evidence held() {
  Evidence evidence = diagnose::testing::quiet_run(500);
  diagnose::testing::hold_probes(evidence, 0, 1'003 * ms, 1'053 * ms);
  diagnose::testing::add_wait(evidence, 0, evidence::WaitMode::hard_irqs_off, 1'003 * ms, 1'053 * ms);
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.pid = 4121;
    packet.comm = "cadvisor";
    packet.syscall_number = 0;
  }
  return evidence;
}

TEST(Packets, lists_the_late_probes_with_where_they_stood_and_who_served_them) {
  const std::string text = render(held());
  EXPECT_THAT(text, HasSubstr("\n 101  03:04:01.010"));
  EXPECT_THAT(text, HasSubstr("03:04:01.010 43.1 ms: hard IRQs off 42.9 ms (99.6 %), network 0.1 ms"));
  EXPECT_THAT(text, HasSubstr("request at veth-node, CPU 0: 43.0 ms in the queue, served in a read of"));
  EXPECT_THAT(text, HasSubstr("cadvisor (pid 4121)"));
  EXPECT_THAT(text, Not(HasSubstr("\n 100  ")));
}

TEST(Packets, lists_every_probe_when_asked) {
  const std::string text = render(held(), true);
  EXPECT_THAT(text, HasSubstr("\n 100  "));
  EXPECT_THAT(text, HasSubstr("\n 101  "));
}

TEST(Packets, says_when_none_was_late) {
  EXPECT_THAT(render(diagnose::testing::quiet_run(10)), HasSubstr("No probe was late"));
  Evidence passive = diagnose::testing::quiet_run(0);
  EXPECT_THAT(render(passive), HasSubstr("No probe was sent"));
}

TEST(Packets, names_every_context) {
  Evidence evidence = held();
  const auto served = [&](evidence::ServedBy by, const std::string& comm) {
    for (evidence::PacketRecord& packet : evidence.packets) {
      packet.served_by = by;
      packet.comm = comm;
      packet.syscall_number.reset();
    }
    return render(evidence);
  };
  EXPECT_THAT(served(evidence::ServedBy::ksoftirqd, "ksoftirqd/0"), HasSubstr("served by ksoftirqd/0"));
  EXPECT_THAT(served(evidence::ServedBy::idle, "swapper/0"), HasSubstr("served on the idle CPU"));
  EXPECT_THAT(served(evidence::ServedBy::task, "app"), HasSubstr("served in app (pid 4121)"));
  EXPECT_THAT(served(evidence::ServedBy::unknown, ""), HasSubstr("served in an unknown"));
}

TEST(Packets, escapes_names) {
  Evidence evidence = held();
  evidence.packets.front().comm = "a\x1b[31m\n";
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.device = "x\x1b]0;";
  }
  EXPECT_EQ(render(evidence, true).find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace stallscope::report
