// SPDX-License-Identifier: Apache-2.0
#include "report/shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "report/layout.h"

namespace stallscope::report {
namespace {

using base::format_count;
using base::format_ms;
using shape::StallEpisode;

constexpr std::size_t episode_indent = 4;
/// More names than this do not help; the JSON has them all.
constexpr std::size_t most_named = 12;

FlowName name_of(std::uint32_t flow, const std::vector<FlowName>& names) {
  return flow < names.size() ? names[flow] : FlowName{"flow", fmt::format("{}", flow)};
}

std::vector<std::uint32_t> numbers(const std::vector<shape::FlowPart>& parts) {
  std::vector<std::uint32_t> flows;
  flows.reserve(parts.size());
  for (const shape::FlowPart& part : parts) {
    flows.push_back(part.flow);
  }
  return flows;
}

std::string plural(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", format_count(count), noun, count == 1 ? "" : "s");
}

std::string slope_text(const StallEpisode& episode) {
  if (!episode.fit) {
    return "";
  }
  if (!episode.slope_95) {
    return fmt::format(", slope {:.2f}", episode.fit->slope);
  }
  return fmt::format(", slope {:.2f} (95 %: {:.3f} to {:.3f})", episode.fit->slope, episode.slope_95->low, episode.slope_95->high);
}

std::string what_text(const StallEpisode& episode) {
  std::string text = episode.held_count > 0 ? plural(episode.held_count, "packet") + " held" : "";
  if (episode.lost_count > 0) {
    text += fmt::format("{}{} lost", text.empty() ? "" : ", ", plural(episode.lost_count, "packet"));
  }
  if (episode.reordered_count > 0) {
    text += fmt::format(", {} out of order", format_count(episode.reordered_count));
  }
  return text + slope_text(episode);
}

std::string length_text(const StallEpisode& episode) {
  const std::string shortest = format_ms(episode.shortest_ns);
  const std::string longest = format_ms(episode.longest_ns);
  return shortest == longest ? longest + " ms" : fmt::format("{} to {} ms", shortest, longest);
}

/// The longest, in order of time.
std::vector<const StallEpisode*> longest(const shape::Analysis& analysis, std::size_t count) {
  std::vector<const StallEpisode*> chosen;
  for (const StallEpisode& episode : analysis.episodes) {
    chosen.push_back(&episode);
  }
  std::stable_sort(chosen.begin(), chosen.end(), [](const auto* a, const auto* b) { return a->longest_ns > b->longest_ns; });
  chosen.resize(std::min(chosen.size(), count));
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const auto* a, const auto* b) { return a->earliest_start_ns < b->earliest_start_ns; });
  return chosen;
}

Json flow_json(const shape::FlowPart& part, const std::vector<FlowName>& names) {
  const FlowName name = name_of(part.flow, names);
  return {{"flow", part.flow},
          {"protocol", base::printable(name.protocol)},
          {"detail", base::printable(name.detail)},
          {"held", part.held_count},
          {"passed", part.passed_count},
          {"lost", part.lost_count},
          {"reordered", part.reordered_count}};
}

Json flows_json(const std::vector<shape::FlowPart>& parts, const std::vector<FlowName>& names) {
  Json flows = Json::array();
  for (const shape::FlowPart& part : parts) {
    flows.push_back(flow_json(part, names));
  }
  return flows;
}

Json episode_json(const StallEpisode& episode, const std::vector<FlowName>& names) {
  Json interval = nullptr;
  if (episode.slope_95) {
    interval = Json::array({episode.slope_95->low, episode.slope_95->high});
  }
  const char* const release = episode.release == shape::Release::together ? "together"
                              : episode.release == shape::Release::apart  ? "apart"
                                                                          : "unknown";
  return {{"cause", shape::cause_id(episode.cause)},
          {"why", episode.why},
          {"earliest_start_ns", episode.earliest_start_ns},
          {"latest_start_ns", episode.latest_start_ns},
          {"release_ns", episode.release_ns},
          {"drained_ns", episode.drained_ns},
          {"shortest_ns", episode.shortest_ns},
          {"longest_ns", episode.longest_ns},
          {"held", episode.held_count},
          {"lost", episode.lost_count},
          {"passed", episode.passed_count},
          {"reordered", episode.reordered_count},
          {"release", release},
          {"slope", episode.fit ? Json(episode.fit->slope) : Json(nullptr)},
          {"slope_95", std::move(interval)},
          {"coincidence_chance", or_null(episode.coincidence_chance)},
          {"partition_chance", or_null(episode.partition_chance)},
          {"stalled_flows", flows_json(episode.stalled_flows, names)},
          {"passing_flows", flows_json(episode.passing_flows, names)}};
}

}  // namespace

std::string shape_sentence(const shape::Analysis& analysis) {
  const shape::Verdict& verdict = analysis.verdict;
  return verdict.cause == shape::Cause::nothing ? verdict.why
                                                : fmt::format("{}: {}", shape::cause_title(verdict.cause), verdict.why);
}

std::string flows_text(const std::vector<std::uint32_t>& flows, const std::vector<std::uint32_t>& others,
                       const std::vector<FlowName>& names) {
  std::map<std::string, std::int64_t> totals;
  for (const std::uint32_t flow : others) {
    ++totals[name_of(flow, names).protocol];
  }
  std::map<std::string, std::vector<std::string>> by_protocol;
  for (const std::uint32_t flow : flows) {
    FlowName name = name_of(flow, names);
    ++totals[name.protocol];
    by_protocol[name.protocol].push_back(std::move(name.detail));
  }
  std::string text;
  for (auto& [protocol, details] : by_protocol) {
    // Ports come in the order of their numbers.
    std::sort(details.begin(), details.end(),
              [](const std::string& a, const std::string& b) { return std::pair(a.size(), a) < std::pair(b.size(), b); });
    text += text.empty() ? "" : "; ";
    text += base::printable(protocol);
    const auto count = static_cast<std::int64_t>(details.size());
    const std::int64_t total = totals[protocol];
    if (count == total && count > 1) {
      text += fmt::format(" all {}", count);
      continue;
    }
    for (std::size_t at = 0; at < details.size() && at < most_named; ++at) {
      text += details[at].empty() ? "" : " " + base::printable(details[at]);
    }
    text += details.size() > most_named ? " ..." : "";
    text += total > 1 ? fmt::format(" ({} of {})", count, total) : "";
  }
  return text.empty() ? "none" : text;
}

std::string render_shape(const shape::Analysis& analysis, const ShapeOptions& options) {
  Page page(options.width, options.colour);
  page.labelled("Shape", 0, 8, fill(shape_sentence(analysis), page.room(8)), Emphasis::bold);
  if (analysis.verdict.cause == shape::Cause::receive_queue) {
    page.labelled("stalls", 2, 10,
                  fill(flows_text(analysis.verdict.stalled_flows, analysis.verdict.passing_flows, options.flows), page.room(10)));
    page.labelled("never", 2, 10,
                  fill(flows_text(analysis.verdict.passing_flows, analysis.verdict.stalled_flows, options.flows), page.room(10)));
  }
  const std::vector<const StallEpisode*> shown = longest(analysis, options.episode_count);
  for (const StallEpisode* episode : shown) {
    page.line(fit(fmt::format("  {}  {:>18}  {}", base::time_of_day(episode->earliest_start_ns + options.realtime_offset_ns),
                              length_text(*episode), shape::cause_title(episode->cause)),
                  options.width));
    for (const std::string& line : fill(what_text(*episode) + ": " + episode->why, page.room(episode_indent))) {
      page.line(std::string(episode_indent, ' ') + line);
    }
    if (!episode->stalled_flows.empty() && episode->cause != shape::Cause::path) {
      page.labelled("stalled", episode_indent, episode_indent + 8,
                    fill(flows_text(numbers(episode->stalled_flows), numbers(episode->passing_flows), options.flows),
                         page.room(episode_indent + 8)));
    }
  }
  const auto more = static_cast<std::int64_t>(analysis.episodes.size() - shown.size()) + analysis.left_out_count;
  if (more > 0) {
    page.line(fmt::format("  and {} shorter", format_count(more)));
  }
  return page.take();
}

Json shape_json(const shape::Analysis& analysis, const ShapeOptions& options) {
  const shape::Verdict& verdict = analysis.verdict;
  Json counts = Json::object();
  for (const shape::Cause cause : shape::all_causes) {
    if (cause != shape::Cause::nothing) {
      counts[std::string(shape::cause_id(cause))] = verdict.packet_counts[static_cast<std::size_t>(cause)];
    }
  }
  Json episodes = Json::array();
  for (const StallEpisode& episode : analysis.episodes) {
    episodes.push_back(episode_json(episode, options.flows));
  }
  return {{"verdict",
           {{"cause", shape::cause_id(verdict.cause)},
            {"why", verdict.why},
            {"packets", std::move(counts)},
            {"stalled_flows", verdict.stalled_flows},
            {"passing_flows", verdict.passing_flows},
            {"partition_chance", or_null(verdict.partition_chance)},
            {"queues", verdict.queue_count}}},
          {"packets", analysis.packet_count},
          {"flows", analysis.flow_count},
          {"answered", analysis.answered_count},
          {"late", analysis.late_count},
          {"own_late", analysis.own_late_count},
          {"lost", analysis.lost_count},
          {"undecided", analysis.undecided_count},
          {"unusable", analysis.unusable_count},
          {"scattered_late", analysis.scattered_late_count},
          {"scattered_lost", analysis.scattered_lost_count},
          {"episodes_left_out", analysis.left_out_count},
          {"episodes", std::move(episodes)}};
}

}  // namespace stallscope::report
