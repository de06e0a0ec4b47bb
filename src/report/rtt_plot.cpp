// SPDX-License-Identifier: Apache-2.0
#include "report/rtt_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string_view>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"

namespace stallscope::report {
namespace {

constexpr int picture_width = 1200;
constexpr int picture_height = 640;
constexpr int left_margin = 92;
constexpr int right_margin = 24;
constexpr int top_margin = 132;
constexpr int bottom_margin = 64;
constexpr int plot_width = picture_width - left_margin - right_margin;
constexpr int plot_height = picture_height - top_margin - bottom_margin;
constexpr int floor_y = top_margin + plot_height;
/// Two points in one cell of this many pixels cannot be told apart.
constexpr int dot_cell = 2;
constexpr std::size_t verdict_columns = 118;
constexpr std::size_t verdict_lines = 2;
/// Labels that stand beside each other without touching.
constexpr int label_width = 64;
constexpr int narrowest_stall = 3;

constexpr std::string_view plot_style =
    "svg{--back:#fff;--ink:#1b1f24;--soft:#5a6472;--grid:#e3e7ec;--dot:#3b76b8;--held:#c8102e;--stall:#f5a623;"
    "font-family:system-ui,sans-serif;background:var(--back)}"
    "@media(prefers-color-scheme:dark){svg{--back:#14181d;--ink:#eef1f4;--soft:#a3adb9;--grid:#2b323a;--dot:#6cb0f5;--held:#ff6b7d;"
    "--stall:#c98a1b}}"
    ".t{fill:var(--ink)}.s{fill:var(--soft);font-size:14px}.g{stroke:var(--grid);fill:none}"
    ".p{stroke:var(--dot);stroke-width:3;stroke-linecap:round;opacity:.75;fill:none}"
    ".h{stroke:var(--held);stroke-width:6;stroke-linecap:round;fill:none}"
    ".e{fill:var(--stall);opacity:.3}.l{fill:var(--held);font-size:13px;font-weight:600;text-anchor:middle}";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// From times to pixels.
class Axes {
 public:
  explicit Axes(const RttPlot& plot) {
    std::int64_t least_ns = std::numeric_limits<std::int64_t>::max();
    std::int64_t most_ns = 0;
    for (const RttPoint& point : plot.points) {
      start_ns_ = std::min(start_ns_, point.sent_ns);
      end_ns_ = std::max(end_ns_, point.sent_ns);
      least_ns = std::min(least_ns, point.rtt_ns);
      most_ns = std::max(most_ns, point.rtt_ns);
    }
    for (const PlottedStall& stall : plot.stalls) {
      end_ns_ = std::max(end_ns_, stall.end_ns);
    }
    if (plot.points.empty()) {
      start_ns_ = 0;
      least_ns = base::ns_per_us;
    }
    end_ns_ = std::max(end_ns_, start_ns_ + base::ns_per_us);
    low_ = static_cast<int>(std::floor(std::log10(static_cast<double>(std::max<std::int64_t>(least_ns, base::ns_per_us)))));
    high_ = static_cast<int>(std::ceil(std::log10(static_cast<double>(std::max<std::int64_t>(most_ns, base::ns_per_us)))));
    high_ = std::max(high_, low_ + 1);
  }

  [[nodiscard]] double x(std::int64_t time_ns) const {
    const double part = static_cast<double>(time_ns - start_ns_) / static_cast<double>(end_ns_ - start_ns_);
    return left_margin + (std::clamp(part, 0.0, 1.0) * plot_width);
  }
  [[nodiscard]] double y(std::int64_t rtt_ns) const {
    const double decade = std::log10(static_cast<double>(std::max<std::int64_t>(rtt_ns, 1)));
    return floor_y - (std::clamp((decade - low_) / (high_ - low_), 0.0, 1.0) * plot_height);
  }

  [[nodiscard]] std::string grid() const {
    std::string svg;
    for (int decade = low_; decade <= high_; ++decade) {
      const auto value_ns = static_cast<std::int64_t>(std::llround(std::pow(10.0, decade)));
      const double at = y(value_ns);
      svg += fmt::format(R"(<path class="g" d="M{} {:.1f}h{}"/><text class="s" x="{}" y="{:.1f}" text-anchor="end">{}</text>)",
                         left_margin, at, plot_width, left_margin - 10, at + 5, base::format_duration(value_ns));
      svg += "\n";
    }
    const std::int64_t step_ns = tick_ns();
    const std::int64_t first = start_ns_ / step_ns;
    const std::int64_t last = end_ns_ / step_ns;
    for (std::int64_t number = first + (start_ns_ % step_ns == 0 ? 0 : 1); number <= last; ++number) {
      const std::int64_t tick = number * step_ns;
      const double at = x(tick);
      std::string time = base::time_of_day(tick);
      time.resize(step_ns % base::ns_per_s == 0 ? time.size() - 4 : time.size());
      svg += fmt::format(R"(<path class="g" d="M{:.1f} {}v{}"/><text class="s" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)",
                         at, top_margin, plot_height, at, floor_y + 22, time);
      svg += "\n";
    }
    return svg;
  }

 private:
  /// A round step of which there are at most ten.
  [[nodiscard]] std::int64_t tick_ns() const {
    constexpr std::array<std::int64_t, 22> steps_ms = {1,       2,       5,       10,        20,        50,        100,    200,
                                                       500,     1'000,   2'000,   5'000,     10'000,    20'000,    30'000, 60'000,
                                                       120'000, 300'000, 600'000, 1'800'000, 3'600'000, 21'600'000};
    for (const std::int64_t step_ms : steps_ms) {
      if ((end_ns_ - start_ns_) / (step_ms * base::ns_per_ms) < 10) {
        return step_ms * base::ns_per_ms;
      }
    }
    return std::max<std::int64_t>((end_ns_ - start_ns_) / 10, 1);
  }

  std::int64_t start_ns_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t end_ns_ = 0;
  /// Powers of ten.
  int low_ = 0;
  int high_ = 0;
};

/// A path of dots: lines of no length with round ends.
std::string draw_dots(const RttPlot& plot, const Axes& axes, bool held) {
  constexpr int columns = (plot_width / dot_cell) + 1;
  constexpr int rows = (plot_height / dot_cell) + 1;
  std::vector<bool> drawn(static_cast<std::size_t>(columns) * rows);
  std::string path;
  for (const RttPoint& point : plot.points) {
    if (point.held != held) {
      continue;
    }
    const double x = axes.x(point.sent_ns);
    const double y = axes.y(point.rtt_ns);
    const auto column = static_cast<std::size_t>((x - left_margin) / dot_cell);
    const auto row = static_cast<std::size_t>((y - top_margin) / dot_cell);
    auto place = drawn[(row * columns) + column];
    if (!place) {
      place = true;
      path += fmt::format("M{:.1f} {:.1f}h0", x, y);
    }
  }
  return path.empty() ? path : fmt::format("<path class=\"{}\" d=\"{}\"/>\n", held ? "h" : "p", path);
}

std::string draw_stalls(const RttPlot& plot, const Axes& axes) {
  std::string svg;
  std::vector<const PlottedStall*> longest;
  double last_end = -1;
  for (const PlottedStall& stall : plot.stalls) {
    longest.push_back(&stall);
    const double from = axes.x(stall.start_ns);
    const double to = std::max(axes.x(stall.end_ns), from + narrowest_stall);
    // Of many in one place, one is seen.
    if (to > last_end) {
      svg += fmt::format("<rect class=\"e\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>\n", std::max(from, last_end),
                         top_margin, to - std::max(from, last_end), plot_height);
      last_end = to;
    }
  }
  std::stable_sort(longest.begin(), longest.end(), [](const auto* a, const auto* b) { return a->length_ns > b->length_ns; });
  std::vector<double> labelled;
  for (const PlottedStall* const stall : longest) {
    const double middle = std::clamp((axes.x(stall->start_ns) + axes.x(stall->end_ns)) / 2, left_margin + (label_width / 2.0),
                                     picture_width - right_margin - (label_width / 2.0));
    if (std::none_of(labelled.begin(), labelled.end(), [&](double other) { return std::abs(other - middle) < label_width; })) {
      labelled.push_back(middle);
      svg += fmt::format("<text class=\"l\" x=\"{:.1f}\" y=\"{}\">{} ms</text>\n", middle, top_margin - 8,
                         base::format_ms(stall->length_ns));
    }
  }
  return svg;
}

std::string headline(const RttPlot& plot) {
  if (plot.held_count == 0) {
    return fmt::format("No packet was held: {} exchanges", base::format_count(static_cast<std::int64_t>(plot.points.size())));
  }
  const auto longest = std::max_element(plot.stalls.begin(), plot.stalls.end(),
                                        [](const PlottedStall& a, const PlottedStall& b) { return a.length_ns < b.length_ns; });
  std::string text = fmt::format("{} packet{} held", base::format_count(plot.held_count), plot.held_count == 1 ? " was" : "s were");
  if (longest != plot.stalls.end()) {
    const auto count = static_cast<std::int64_t>(plot.stalls.size());
    text += fmt::format(", in {} stall{} of up to {} ms", base::format_count(count), count == 1 ? "" : "s",
                        base::format_ms(longest->length_ns));
  }
  return text;
}

std::string draw_header(const RttPlot& plot) {
  std::string svg =
      fmt::format(R"(<text class="t" x="24" y="38" font-size="24" font-weight="700">{}</text>)", escaped(headline(plot)));
  const std::string wrapped = base::wrap(plot.verdict, verdict_columns, 0);
  std::vector<std::string_view> lines = base::split(wrapped, '\n');
  const bool more = lines.size() > verdict_lines;
  lines.resize(std::min(lines.size(), verdict_lines));
  int at = 64;
  for (std::size_t line = 0; line < lines.size(); ++line, at += 20) {
    svg += fmt::format(R"(<text class="t" x="24" y="{}" font-size="15">{}{}</text>)", at, escaped(lines[line]),
                       more && line + 1 == lines.size() ? " ..." : "");
  }
  const int legend = top_margin - 30;
  const int key = picture_width - right_margin - 470;
  svg += fmt::format(
      R"(<path class="p" d="M{0} {1}h0"/><text class="s" x="{2}" y="{3}">answered as usual</text>)"
      R"(<path class="h" d="M{4} {1}h0"/><text class="s" x="{5}" y="{3}">held</text>)"
      R"(<rect class="e" x="{6}" y="{7}" width="18" height="14"/><text class="s" x="{8}" y="{3}">a queue stood still</text>)",
      key, legend - 5, key + 10, legend, key + 166, key + 176, key + 240, legend - 12, key + 264);
  svg += fmt::format(R"(<text class="s" x="24" y="{}">RTT by time of sending, {}</text>)", legend, escaped(plot.file));
  return svg + "\n";
}

}  // namespace

std::string render_rtt_plot(const RttPlot& plot) {
  const Axes axes(plot);
  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img"><title>{2}</title>)"
      "<style>{3}</style><rect width=\"{0}\" height=\"{1}\" fill=\"var(--back)\"/>\n",
      picture_width, picture_height, escaped(headline(plot)), plot_style);
  svg += draw_header(plot);
  svg += draw_stalls(plot, axes);
  if (!plot.points.empty()) {
    svg += axes.grid();
  }
  svg += draw_dots(plot, axes, false);
  svg += draw_dots(plot, axes, true);
  svg += fmt::format(R"(<text class="s" x="{}" y="{}" text-anchor="middle">time of sending, UTC</text>)",
                     left_margin + (plot_width / 2), picture_height - 14);
  return svg + "\n</svg>\n";
}

}  // namespace stallscope::report
