// SPDX-License-Identifier: Apache-2.0
#include "report/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "diagnose/diagnose.h"
#include "diagnose/testing/scenarios.h"

namespace stallscope::report {
namespace {

using diagnose::testing::add_wait;
using diagnose::testing::hold_probes;
using diagnose::testing::ms;
using diagnose::testing::us;
using evidence::Evidence;
using evidence::WaitMode;
using ::testing::HasSubstr;
using ::testing::Not;

std::string render_as_text(const Evidence& evidence, const TextOptions& options = {}) {
  return render_text(evidence, diagnose::diagnose(evidence), options);
}

Evidence many_stalls(int count) {
  Evidence evidence = diagnose::testing::quiet_run();
  for (int stall = 0; stall < count; ++stall) {
    const std::int64_t start_ns = (1'003 + stall * 500) * ms;
    const std::int64_t end_ns = start_ns + (20 + stall) * ms;
    hold_probes(evidence, 0, start_ns, end_ns);
    diagnose::testing::hold_by_reader(add_wait(evidence, 0, WaitMode::hard_irqs_off, start_ns, end_ns));
  }
  return evidence;
}

TEST(Text, shows_the_ten_longest_in_order_of_time_and_counts_the_rest) {
  const Evidence evidence = many_stalls(13);
  const std::string text = render_as_text(evidence);
  EXPECT_THAT(text, HasSubstr("... and 3 more, none longer than 22.0 ms"));
  EXPECT_THAT(text, Not(HasSubstr("#3 ")));
  EXPECT_THAT(text, HasSubstr("#4 "));
  EXPECT_LT(text.find("#4 "), text.find("#13 "));
  TextOptions all;
  all.all = true;
  EXPECT_THAT(render_as_text(evidence, all), HasSubstr("#3 "));
  EXPECT_THAT(render_as_text(evidence, all), Not(HasSubstr("more, none longer")));
}

TEST(Text, shortens_long_stacks_unless_all_is_asked_for) {
  Evidence evidence = many_stalls(1);
  std::vector<std::string> frames;
  for (int frame = 0; frame < 40; ++frame) {
    frames.push_back("function_" + std::to_string(frame));
  }
  evidence.stacks.push_back({1, frames});
  EXPECT_THAT(render_as_text(evidence), HasSubstr("function_34 > ... >"));
  EXPECT_THAT(render_as_text(evidence), Not(HasSubstr("function_20")));
  TextOptions all;
  all.all = true;
  EXPECT_THAT(render_as_text(evidence, all), HasSubstr("function_20"));
}

TEST(Text, tells_who_had_the_cpu_in_order_when_all_is_asked_for) {
  const Evidence evidence = diagnose::testing::passive();
  TextOptions all;
  all.all = true;
  const std::string text = render_as_text(evidence, all);
  const std::size_t first = text.find("in order  +1.0 ms, 9 samples: rt-loop: ");
  ASSERT_NE(first, std::string::npos) << text;
  EXPECT_THAT(text.substr(first), HasSubstr("\n              +10.0 ms, 1 sample: idle\n"));
  EXPECT_THAT(render_as_text(evidence), Not(HasSubstr("in order")));
}

TEST(Text, calls_what_another_cpu_saw_a_hint) {
  Evidence evidence = diagnose::testing::passive();
  for (evidence::SampleRecord& sample : evidence.samples) {
    sample.sample_count = 0;
  }
  TextOptions all;
  all.all = true;
  EXPECT_THAT(render_as_text(evidence, all), HasSubstr("in order  +1.0 ms, seen from another CPU (a hint): rt-loop: "));
}

TEST(Text, says_what_was_sent) {
  Evidence evidence = many_stalls(1);
  EXPECT_THAT(render_as_text(evidence), HasSubstr(" ICMP echoes, "));
  evidence::FlowRecord syns;
  syns.kind = evidence::ProbeKind::tcp_syn;
  syns.target_port = 443;
  evidence.flows = {syns, syns};
  EXPECT_THAT(render_as_text(evidence), HasSubstr(" TCP SYNs to port 443, "));
  evidence.flows.back().target_port = 80;
  EXPECT_THAT(render_as_text(evidence), HasSubstr(" probes, "));
}

TEST(Text, prints_the_sequence_of_the_wire_when_it_has_wrapped) {
  Evidence evidence = many_stalls(1);
  for (evidence::ProbeRecord& probe : evidence.probes) {
    probe.sequence += 70'000;
  }
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.sequence += 70'000;
  }
  // 70,101 - 65,536
  EXPECT_THAT(render_as_text(evidence), HasSubstr("probe 70101 (icmp_seq 4565)"));
}

TEST(Text, escapes_names_from_the_kernel) {
  const std::string text = render_as_text(diagnose::testing::hostile_names());
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
  EXPECT_EQ(text.find("\n#9"), std::string::npos);
}

TEST(Text, never_shortens_the_path_of_the_bundle) {
  TextOptions options;
  options.bundle_path = "/var/lib/" + std::string(100, 'd') + "/x.stall";
  EXPECT_THAT(render_as_text(diagnose::testing::healthy_zombies(), options), HasSubstr("\n  " + options.bundle_path + "\n"));
}

TEST(Text, leads_from_a_finding_to_its_remedies) {
  TextOptions options;
  options.bundle_path = "a.stall";
  EXPECT_THAT(render_as_text(many_stalls(1), options),
              HasSubstr("\nWhat can be done, gentlest first: stallscope remedy plan a.stall\n"));
  EXPECT_THAT(render_as_text(diagnose::testing::quiet_run(), options), Not(HasSubstr("remedy")));
}

TEST(Text, says_which_end_held_the_packets) {
  Evidence evidence = many_stalls(1);
  EXPECT_THAT(render_as_text(evidence), HasSubstr("1 stall, while receiving on 10.0.1.2, CPU 0"));
  for (evidence::PacketRecord& packet : evidence.packets) {
    packet.leg = packet.leg == evidence::PacketLeg::request ? evidence::PacketLeg::reply : evidence::PacketLeg::request;
  }
  EXPECT_THAT(render_as_text(evidence), HasSubstr("1 stall, while receiving the replies, CPU 0"));
}

TEST(Text, does_not_claim_to_have_watched_what_was_not_traced) {
  Evidence evidence = diagnose::testing::quiet_run();
  evidence.run.traced = false;
  const std::string text = render_as_text(evidence);
  EXPECT_THAT(text, HasSubstr("The kernel was not watched"));
  EXPECT_THAT(text, Not(HasSubstr("There was none")));
}

TEST(Text, tells_how_the_recording_ended) {
  Evidence evidence = diagnose::testing::quiet_run();
  evidence.run.state = "interrupted";
  EXPECT_THAT(render_as_text(evidence), HasSubstr("The recording was interrupted after 21 s of 20 s."));
  evidence.run.state = "recording";
  EXPECT_THAT(render_as_text(evidence), HasSubstr("ended from outside"));
}

TEST(Text, a_stall_with_shares_of_two_modes_names_both) {
  const std::string text = render_as_text(diagnose::testing::two_causes());
  EXPECT_THAT(text, HasSubstr("CPU 0   hard IRQs off"));
  EXPECT_THAT(text, HasSubstr("mode: another softirq vector (TIMER)"));
}

TEST(Text, uses_escape_sequences_only_for_colour) {
  const Evidence evidence = diagnose::testing::incident();
  TextOptions colour;
  colour.colour = true;
  EXPECT_THAT(render_as_text(evidence, colour), HasSubstr("\x1b[1mCause"));
  EXPECT_THAT(render_as_text(evidence), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace stallscope::report
