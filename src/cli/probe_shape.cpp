// SPDX-License-Identifier: Apache-2.0
#include "cli/probe_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "base/units.h"
#include "cli/stalled_queues.h"
#include "report/shape.h"

namespace stallscope::cli {
namespace {

using diagnose::TargetShape;

constexpr std::size_t shown_shapes = 3;
constexpr std::size_t shown_episodes = 5;
constexpr std::size_t all_episodes = 50;
/// More flows than this do not each get a row of their own.
constexpr std::size_t most_rows = 16;
constexpr std::size_t map_columns = 200;

bool has_shape(const TargetShape& target) {
  return target.flows.size() > 1 && target.analysis.verdict.cause != shape::Cause::nothing;
}

struct Rows {
  std::vector<std::int32_t> row_of_flow;
  std::vector<std::string> labels;
};

/// A row for each receive queue, where they are known.
bool take_queue_rows(const StalledQueues& queues, Rows& rows) {
  if (!queues.names_queues()) {
    return false;
  }
  const std::vector<std::optional<std::uint32_t>>& flow_queues = queues.prediction->flow_queues;
  std::set<std::uint32_t> numbers;
  for (const std::optional<std::uint32_t> queue : flow_queues) {
    if (queue) {
      numbers.insert(*queue);
    }
  }
  if (numbers.size() > most_rows) {
    return false;
  }
  std::map<std::uint32_t, std::int32_t> row_of_queue;
  for (const std::uint32_t queue : numbers) {
    row_of_queue.emplace(queue, static_cast<std::int32_t>(rows.labels.size()));
    rows.labels.push_back(fmt::format("queue {}", queue));
  }
  for (std::size_t flow = 0; flow < flow_queues.size(); ++flow) {
    if (flow_queues[flow]) {
      rows.row_of_flow[flow] = row_of_queue.at(*flow_queues[flow]);
    }
  }
  return true;
}

/// Each queue, else the flows that stall against the others, else each flow, else all in one.
Rows rows_of(const TargetShape& target, const StalledQueues& queues) {
  const std::vector<report::FlowName>& names = queues.names;
  Rows rows;
  rows.row_of_flow.assign(target.flows.size(), shape::no_row);
  const shape::Verdict& verdict = target.analysis.verdict;
  if (take_queue_rows(queues, rows)) {
    return rows;
  }
  if (verdict.cause == shape::Cause::receive_queue) {
    rows.labels = {"stalling flows", "other flows"};
    std::fill(rows.row_of_flow.begin(), rows.row_of_flow.end(), 1);
    for (const std::uint32_t flow : verdict.stalled_flows) {
      rows.row_of_flow[flow] = 0;
    }
  } else if (target.flows.size() <= most_rows) {
    for (std::size_t flow = 0; flow < names.size(); ++flow) {
      rows.row_of_flow[flow] = static_cast<std::int32_t>(flow);
      rows.labels.push_back(names[flow].detail.empty() ? names[flow].protocol
                                                       : fmt::format("{} {}", names[flow].protocol, names[flow].detail));
    }
  } else {
    rows.labels = {"all flows"};
    std::fill(rows.row_of_flow.begin(), rows.row_of_flow.end(), 0);
  }
  return rows;
}

shape::HeatMap map_of(const TargetShape& target, const Rows& rows) {
  return shape::make_heat_map(target.packets, rows.row_of_flow, rows.labels.size(), map_columns);
}

}  // namespace

std::string render_probe_shapes(const ProbeShapes& shapes, const ProbeShapeTextOptions& options) {
  std::string text;
  std::size_t shown = 0;
  for (const TargetShape& target : shapes.targets) {
    if (!has_shape(target) || (!options.all && shown == shown_shapes)) {
      continue;
    }
    ++shown;
    const StalledQueues queues = find_stalled_queues(target, shapes.key);
    report::ShapeOptions shape_options;
    shape_options.width = options.width;
    shape_options.flows = queues.names;
    shape_options.realtime_offset_ns = shapes.realtime_offset_ns;
    shape_options.episode_count = options.all ? all_episodes : shown_episodes;
    text += fmt::format("Where probes to {} waited, by the times of {} flows\n", base::printable(target.address),
                        base::format_count(static_cast<std::int64_t>(target.flows.size())));
    text += report::render_shape(target.analysis, shape_options);
    // One group alone is in the verdict already.
    text += shapes.key || queues.learned.groups.size() > 1 ? render_stalled_queues(queues, options.width) : "";
    const Rows rows = rows_of(target, queues);
    text +=
        report::render_heat_map(map_of(target, rows), rows.labels,
                                {.width = options.width, .utf8 = options.utf8, .realtime_offset_ns = shapes.realtime_offset_ns});
  }
  if (shown > 0 && shapes.left_out_count > 0) {
    text += fmt::format("Not in it: the last {} probes, for want of memory.\n", base::format_count(shapes.left_out_count));
  }
  return text;
}

std::string probe_shapes_json(const ProbeShapes& shapes) {
  std::string text;
  for (const TargetShape& target : shapes.targets) {
    if (!has_shape(target)) {
      continue;
    }
    report::ShapeOptions options;
    const StalledQueues queues = find_stalled_queues(target, shapes.key);
    options.flows = queues.names;
    report::Json line = {{"type", "shape"}, {"address", target.address}, {"left_out", shapes.left_out_count}};
    line.update(report::shape_json(target.analysis, options));
    line["queues"] = stalled_queues_json(queues);
    const Rows rows = rows_of(target, queues);
    line["heat_map"] = report::heat_map_json(map_of(target, rows), rows.labels);
    text += line.dump(-1, ' ', true, report::Json::error_handler_t::replace) + "\n";
  }
  return text;
}

}  // namespace stallscope::cli
