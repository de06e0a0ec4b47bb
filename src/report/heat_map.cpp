// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "report/layout.h"
#include "report/shape.h"

namespace stallscope::report {
namespace {

constexpr std::size_t widest_label = 24;
/// An answer is in the first class that it is not above; what is above all of them in the last.
constexpr std::array<std::int64_t, 7> class_limits_ns = {base::ns_per_ms,       3 * base::ns_per_ms,   10 * base::ns_per_ms,
                                                         30 * base::ns_per_ms,  100 * base::ns_per_ms, 300 * base::ns_per_ms,
                                                         1000 * base::ns_per_ms};
constexpr std::array<std::string_view, class_limits_ns.size() + 1> blocks = {"\u2581", "\u2582", "\u2583", "\u2584",
                                                                             "\u2585", "\u2586", "\u2587", "\u2588"};
constexpr std::array<std::string_view, class_limits_ns.size() + 1> ascii = {".", "-", "~", "+", "o", "*", "%", "#"};

std::string_view character(const shape::HeatCell& cell, bool utf8) {
  if (cell.sent_count == 0) {
    return " ";
  }
  if (cell.unanswered_count > 0) {
    return "x";
  }
  const auto* const limit = std::lower_bound(class_limits_ns.begin(), class_limits_ns.end(), cell.worst_ns);
  return (utf8 ? blocks : ascii)[static_cast<std::size_t>(limit - class_limits_ns.begin())];
}

}  // namespace

std::string render_heat_map(const shape::HeatMap& map, const std::vector<std::string>& labels, const HeatMapOptions& options) {
  std::size_t label_width = 0;
  std::vector<std::string> shown;
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    shown.push_back(fit(base::printable(row < labels.size() ? labels[row] : fmt::format("row {}", row)), widest_label));
    label_width = std::max(label_width, display_width(shown.back()));
  }
  const std::size_t indent = label_width + 2;
  const std::size_t room = options.width > indent ? options.width - indent : 1;
  const shape::HeatMap narrowed = shape::narrow(map, room);
  Page page(options.width, false);
  std::size_t columns = 0;
  bool any = false;
  for (std::size_t row = 0; row < narrowed.rows.size(); ++row) {
    std::string line = shown[row] + std::string(indent - display_width(shown[row]), ' ');
    for (const shape::HeatCell& cell : narrowed.rows[row]) {
      any = any || cell.sent_count > 0;
      line += character(cell, options.utf8);
    }
    columns = std::max(columns, narrowed.rows[row].size());
    page.line(line);
  }
  if (!any) {
    return "";
  }
  const std::string from = base::time_of_day(narrowed.start_ns + options.realtime_offset_ns);
  const std::string to = "+" + base::format_duration(narrowed.cell_ns * static_cast<std::int64_t>(columns));
  const std::size_t used = from.size() + to.size();
  page.line(std::string(indent, ' ') + from + std::string(columns > used ? columns - used : 1, ' ') + to);
  std::string meaning = "Worst answer to what was sent then:";
  for (std::size_t at = 0; at < class_limits_ns.size(); ++at) {
    meaning += fmt::format(" {} {} ms,", (options.utf8 ? blocks : ascii)[at], class_limits_ns[at] / base::ns_per_ms);
  }
  meaning += fmt::format(" {} more, x no answer; blank: nothing sent", (options.utf8 ? blocks : ascii).back());
  for (const std::string& line : fill(meaning, options.width)) {
    page.line(line);
  }
  return page.take();
}

Json heat_map_json(const shape::HeatMap& map, const std::vector<std::string>& labels) {
  Json rows = Json::array();
  for (std::size_t row = 0; row < map.rows.size(); ++row) {
    Json worst = Json::array();
    Json sent = Json::array();
    Json unanswered = Json::array();
    for (const shape::HeatCell& cell : map.rows[row]) {
      worst.push_back(cell.worst_ns);
      sent.push_back(cell.sent_count);
      unanswered.push_back(cell.unanswered_count);
    }
    rows.push_back({{"label", row < labels.size() ? base::printable(labels[row]) : fmt::format("row {}", row)},
                    {"worst_ns", std::move(worst)},
                    {"sent", std::move(sent)},
                    {"unanswered", std::move(unanswered)}});
  }
  return {{"start_ns", map.start_ns}, {"cell_ns", map.cell_ns}, {"rows", std::move(rows)}};
}

}  // namespace stallscope::report
