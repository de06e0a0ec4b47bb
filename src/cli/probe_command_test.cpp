// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/units.h"
#include "cli/probe_output.h"
#include "cli/probe_targets.h"
#include "probe/responder.h"

namespace stallscope::cli {
namespace {

using base::ns_per_ms;
using evidence::ProbeKind;
using testing::HasSubstr;
using testing::Not;

TEST(ProbeTargets, SchemesPortsAndBracketsAreUnderstood) {
  struct Case {
    std::string text;
    ProbeKind kind;
    std::string host;
    std::uint16_t port;
    std::string path;
  };
  const TargetDefaults tcp_443{.kind = ProbeKind::tcp_syn, .port = 443};
  for (const Case& expected :
       {Case{"10.0.1.2", ProbeKind::tcp_syn, "10.0.1.2", 443, ""}, Case{"fd00::2", ProbeKind::tcp_syn, "fd00::2", 443, ""},
        Case{"[fd00::2]", ProbeKind::tcp_syn, "fd00::2", 443, ""}, Case{"[fd00::2]:8443", ProbeKind::tcp_syn, "fd00::2", 8443, ""},
        Case{"web:80", ProbeKind::tcp_syn, "web", 80, ""}, Case{"icmp://fd00::2", ProbeKind::icmp_echo, "fd00::2", 0, ""},
        Case{"udp://node", ProbeKind::udp_echo, "node", probe::ResponderOptions::default_port, ""},
        Case{"http://web/health?x=1", ProbeKind::http_get, "web", 80, "/health?x=1"},
        Case{"http://[fd00::2]:8080", ProbeKind::http_get, "fd00::2", 8080, ""}}) {
    const base::Result<TargetText> target = parse_target(expected.text, tcp_443);
    ASSERT_TRUE(target) << expected.text;
    EXPECT_EQ(target->kind, expected.kind) << expected.text;
    EXPECT_EQ(target->host, expected.host) << expected.text;
    EXPECT_EQ(target->port, expected.port) << expected.text;
    EXPECT_EQ(target->path, expected.path) << expected.text;
  }
}

TEST(ProbeTargets, WhatIsNoTargetIsRefusedWithItsReason) {
  const auto reason = [](const std::string& text) {
    const base::Result<TargetText> target = parse_target(text, {});
    return target ? "accepted" : target.error().message();
  };
  EXPECT_THAT(reason(""), HasSubstr("no host"));
  EXPECT_THAT(reason("tcp://10.0.1.2"), HasSubstr("no port"));
  EXPECT_THAT(reason("tcp://10.0.1.2:0"), HasSubstr("not a port"));
  EXPECT_THAT(reason("tcp://10.0.1.2:65536"), HasSubstr("not a port"));
  EXPECT_THAT(reason("tcp://[fd00::2:443"), HasSubstr("bracket"));
  EXPECT_THAT(reason("10.0.1.2:80"), HasSubstr("ICMP has no ports"));
  EXPECT_THAT(reason("https://web/"), HasSubstr("TLS"));
  EXPECT_THAT(reason("gopher://web"), HasSubstr("not known"));
  EXPECT_THAT(reason("tcp://web:80/path"), HasSubstr("path"));
  EXPECT_THAT(reason("http://web/a\r\nX-Injected: 1"), HasSubstr("control character"));
  EXPECT_THAT(reason("http://we b/"), HasSubstr("control character"));
  EXPECT_THAT(reason("\x1b[2J://x"), Not(HasSubstr("\x1b"))) << "escaped for the terminal";
}

TEST(ProbeTargets, PortRanges) {
  EXPECT_EQ(*parse_port_range("40000"), (probe::PortRange{40'000, 40'000}));
  EXPECT_EQ(*parse_port_range("40000-40063"), (probe::PortRange{40'000, 40'063}));
  for (const char* const text : {"", "0", "5-4", "1-", "-1", "1-65536", "a", "1-2-3"}) {
    EXPECT_FALSE(parse_port_range(text)) << text;
  }
}

class ProbeOutput : public testing::Test {
 protected:
  ProbeOutput() : board_(2, 10 * ns_per_ms) {
    targets_.resize(2);
    targets_[0].name = "evil\x1b[31m";
    targets_[1].name = "tcp://10.0.1.2:443";
    targets_[1].kind = ProbeKind::tcp_syn;
    summary_.duplicates = {0, 3};
    summary_.counts.duplicates = 3;
    evidence::ProbeRecord probe;
    probe.sent_ns = probe.intended_ns = 1'000'000;
    probe.transmitted_ns = 1'010'000;
    for (int i = 0; i < 10; ++i) {
      probe.received_ns = i == 9 ? evidence::ProbeRecord::not_received : 1'200'000 + i;
      probe.answer = i == 9 ? evidence::AnswerKind::none : evidence::AnswerKind::syn_ack;
      board_.add(1, probe);
    }
  }
  [[nodiscard]] ProbeReport report() const {
    return {targets_, board_, summary_, gaps_, distortions_, 10 * ns_per_ms, 20 * ns_per_ms, 1024};
  }

  std::vector<probe::ProbeTarget> targets_;
  probe::ScoreBoard board_;
  probe::ProberSummary summary_;
  std::vector<evidence::GapRecord> gaps_;
  std::vector<probe::Distortion> distortions_;
};

TEST_F(ProbeOutput, TextTellsLossFirstAndEscapesNames) {
  const std::string text = render_probe_text(report(), {.histogram = true});
  EXPECT_THAT(text, HasSubstr("10 sent, 9 answered: 9 SYN-ACK; 1 lost (10 %), 0 late, 3 duplicate"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_LT(text.find("tcp://10.0.1.2:443"), text.find("evil")) << "who did worst comes first";
  EXPECT_TRUE(anything_wrong(report()));
}

TEST_F(ProbeOutput, JsonIsOneObjectALineWithNullForUnknown) {
  std::istringstream lines(render_probe_json(report()));
  std::vector<nlohmann::json> parsed;
  for (std::string line; std::getline(lines, line);) {
    parsed.push_back(nlohmann::json::parse(line));
  }
  ASSERT_EQ(parsed.size(), 3U);
  EXPECT_EQ(parsed[0]["type"], "target");
  EXPECT_TRUE(parsed[0]["from_intended"].is_null());
  EXPECT_EQ(parsed[1]["answers"]["syn_ack"], 9);
  EXPECT_EQ(parsed[1]["path"]["min_ns"], 190'000);
  EXPECT_EQ(parsed[2]["type"], "summary");
  EXPECT_EQ(parsed[2]["lost"], 1);
  EXPECT_TRUE(parsed[2]["far_host"].is_null());
}

TEST_F(ProbeOutput, HttpIsShownByPhaseAndByHowFarLostOnesCame) {
  evidence::ProbeRecord probe;
  board_.add_phases(0, probe, {0, 2 * ns_per_ms, 92 * ns_per_ms, 95 * ns_per_ms, 503});
  board_.add_phases(0, probe, {1, 3 * ns_per_ms, -1, -1, 0});
  const std::string text = render_probe_text(report(), {});
  EXPECT_THAT(text, HasSubstr("HTTP: status 503 1 time; 1 connected and got no response"));
  EXPECT_THAT(text, testing::ContainsRegex("to first byte +90 ms"));
  std::istringstream lines(render_probe_json(report()));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const nlohmann::json json = nlohmann::json::parse(line);
  EXPECT_EQ(json["http"]["statuses"]["503"], 1);
  EXPECT_EQ(json["http"]["connect"]["count"], 2);
  EXPECT_EQ(json["http"]["no_response"], 1);
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_TRUE(nlohmann::json::parse(line)["http"].is_null());
}

TEST_F(ProbeOutput, ThePathIsInnocentOfWhatLayInThisHostsQueue) {
  EXPECT_THAT(render_probe_text(report(), {}), Not(HasSubstr("own RX queue")));
  evidence::ProbeRecord probe;
  probe.sent_ns = probe.intended_ns = probe.transmitted_ns = 1'000'000;
  probe.received_ns = 81'000'000;
  probe.answer = evidence::AnswerKind::syn_ack;
  probe.hardware_received_ns = 1'150'000;
  probe.hardware_transmitted_ns = 1'030'000;
  ASSERT_EQ(board_.add(1, probe), probe::ProbeFateKind::late);
  const std::string text = render_probe_text(report(), {});
  EXPECT_THAT(text, testing::ContainsRegex("own card +30 us"));
  EXPECT_THAT(text, testing::ContainsRegex("own RX queue +79.+ ms"));
  EXPECT_THAT(text, HasSubstr("Late only for lying in this host's own receive queue"));
  EXPECT_THAT(probe_line_text(targets_[1], {}, probe, probe::ProbeFateKind::late, nullptr), HasSubstr(" own-queue=79."));
  std::string line = render_probe_json(report());
  line = line.substr(line.rfind('\n', line.size() - 2) + 1);
  EXPECT_EQ(nlohmann::json::parse(line)["late_by_own_queue"], 1);
  EXPECT_EQ(nlohmann::json::parse(line)["own_queue"]["max_ns"], 79'850'000);
}

TEST_F(ProbeOutput, ALineForEachProbe) {
  evidence::FlowRecord flow;
  flow.source_port = 61'000;
  evidence::ProbeRecord probe;
  probe.sequence = 7;
  EXPECT_EQ(probe_line_text(targets_[1], flow, probe, probe::ProbeFateKind::lost, nullptr),
            "tcp://10.0.1.2:443 seq=7 sport=61000 lost\n");
  const evidence::HttpRecord silent{7, 3 * ns_per_ms, -1, -1, 0};
  EXPECT_EQ(probe_line_text(targets_[1], flow, probe, probe::ProbeFateKind::lost, &silent),
            "tcp://10.0.1.2:443 seq=7 sport=61000 lost, connect=3.0 ms, no response\n");
  probe.received_ns = 2 * ns_per_ms;
  probe.transmitted_ns = ns_per_ms;
  probe.answer = evidence::AnswerKind::reset;
  EXPECT_EQ(probe_line_text(targets_[1], flow, probe, probe::ProbeFateKind::late, nullptr),
            "tcp://10.0.1.2:443 seq=7 sport=61000 RST rtt=2.0 ms path=1.0 ms LATE\n");
  const evidence::HttpRecord refused{7};
  EXPECT_EQ(probe_line_text(targets_[1], flow, probe, probe::ProbeFateKind::on_time, &refused),
            "tcp://10.0.1.2:443 seq=7 sport=61000 RST rtt=2.0 ms path=1.0 ms\n");
  const nlohmann::json json = nlohmann::json::parse(probe_line_json(flow, probe, probe::ProbeFateKind::late, nullptr));
  EXPECT_EQ(json["answer"], "reset");
  EXPECT_TRUE(json["far_host_ns"].is_null());
  EXPECT_TRUE(json["hardware_received_ns"].is_null());
}

}  // namespace
}  // namespace stallscope::cli
