// SPDX-License-Identifier: Apache-2.0
#include "report/rtt_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"

namespace stallscope::report {
namespace {

using base::ns_per_ms;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t plot_start_ns = 1'700'000'000'000'000'000;

RttPlot plot_of(std::int64_t count, std::int64_t held_from, std::int64_t held_to) {
  RttPlot plot;
  plot.file = "a<b>&\"c\".pcap";
  plot.verdict = "one receive queue: <script>";
  for (std::int64_t number = 0; number < count; ++number) {
    const bool held = number >= held_from && number < held_to;
    plot.points.push_back({plot_start_ns + (number * ns_per_ms),
                           held ? (held_to - number) * ns_per_ms + 200'000 : 200'000 + number % 50 * 1'000, held});
    plot.held_count += held ? 1 : 0;
  }
  if (held_to > held_from) {
    plot.stalls.push_back({plot_start_ns + (held_from * ns_per_ms), plot_start_ns + (held_to * ns_per_ms),
                           (held_to - held_from) * ns_per_ms, "one receive queue"});
  }
  return plot;
}

std::ptrdiff_t occurrences(const std::string& text, std::string_view of) {
  std::ptrdiff_t count = 0;
  for (std::size_t at = text.find(of); at != std::string::npos; at = text.find(of, at + 1)) {
    ++count;
  }
  return count;
}

TEST(RttPlot, SaysTheAnswerFirstAndMarksWhatWasHeld) {
  const std::string svg = render_rtt_plot(plot_of(1'000, 400, 440));
  EXPECT_THAT(svg, HasSubstr("40 packets were held, in 1 stall of up to 40.0 ms"));
  EXPECT_THAT(svg, HasSubstr("<text class=\"l\""));
  EXPECT_EQ(occurrences(svg, "<rect class=\"e\""), 2) << "the stall, and the legend";
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(render_rtt_plot(plot_of(1'000, 0, 0)), HasSubstr("No packet was held: 1,000 exchanges"));
}

TEST(RttPlot, NamesFromOutsideAreText) {
  const std::string svg = render_rtt_plot(plot_of(10, 0, 0));
  EXPECT_THAT(svg, HasSubstr("a&lt;b&gt;&amp;&quot;c&quot;.pcap"));
  EXPECT_THAT(svg, Not(HasSubstr("<script>")));
}

TEST(RttPlot, ItsSizeHasALimit) {
  RttPlot plot = plot_of(500'000, 1'000, 400'000);
  plot.stalls.resize(100'000, plot.stalls.front());
  EXPECT_LT(render_rtt_plot(plot).size(), 3'000'000U);
}

TEST(RttPlot, AnyTimesAreSafe) {
  EXPECT_THAT(render_rtt_plot({}), HasSubstr("</svg>"));
  RttPlot one;
  one.points = {{0, 0, true}};
  one.stalls = {{-5, 1'000'000, 0, "path"}};
  EXPECT_THAT(render_rtt_plot(one), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace stallscope::report
