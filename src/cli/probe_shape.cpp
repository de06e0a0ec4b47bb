// SPDX-License-Identifier: Apache-2.0
#include "cli/probe_shape.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
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

/// The flows that stall against the others, else each flow, else all in one.
Rows rows_of(const TargetShape& target, const std::vector<report::FlowName>& names) {
  Rows rows;
  rows.row_of_flow.assign(target.flows.size(), shape::no_row);
  const shape::Verdict& verdict = target.analysis.verdict;
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

std::vector<report::FlowName> flow_names(const std::vector<evidence::FlowRecord>& flows) {
  std::vector<report::FlowName> names;
  for (const evidence::FlowRecord& flow : flows) {
    const std::string_view kind = evidence::probe_kind_id(flow.kind);
    names.push_back({flow.target_port == 0 ? std::string(kind) : fmt::format("{}:{}", kind, flow.target_port),
                     flow.source_port == 0 ? "" : fmt::format("{}", flow.source_port)});
  }
  return names;
}

std::string render_probe_shapes(const ProbeShapes& shapes, const ProbeShapeTextOptions& options) {
  std::string text;
  std::size_t shown = 0;
  for (const TargetShape& target : shapes.targets) {
    if (!has_shape(target) || (!options.all && shown == shown_shapes)) {
      continue;
    }
    ++shown;
    const std::vector<report::FlowName> names = flow_names(target.flows);
    report::ShapeOptions shape_options;
    shape_options.width = options.width;
    shape_options.flows = names;
    shape_options.realtime_offset_ns = shapes.realtime_offset_ns;
    shape_options.episode_count = options.all ? all_episodes : shown_episodes;
    text += fmt::format("Where probes to {} waited, by the times of {} flows\n", base::printable(target.address),
                        base::format_count(static_cast<std::int64_t>(target.flows.size())));
    text += report::render_shape(target.analysis, shape_options);
    const Rows rows = rows_of(target, names);
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
    options.flows = flow_names(target.flows);
    report::Json line = {{"type", "shape"}, {"address", target.address}, {"left_out", shapes.left_out_count}};
    line.update(report::shape_json(target.analysis, options));
    const Rows rows = rows_of(target, options.flows);
    line["heat_map"] = report::heat_map_json(map_of(target, rows), rows.labels);
    text += line.dump(-1, ' ', true, report::Json::error_handler_t::replace) + "\n";
  }
  return text;
}

}  // namespace stallscope::cli
