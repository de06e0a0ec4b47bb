// SPDX-License-Identifier: Apache-2.0
#include "lab/ground_truth.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lab/topology.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Status;

Json text_or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

Json common_fields(std::string_view type, const Culprit& culprit, const Stall& stall, bool healthy) {
  Json json = {{"type", type},
               {"fault", culprit.fault->id},
               {"cpu", culprit.cpu},
               {"start_ns", stall.start_ns},
               {"end_ns", stall.end_ns},
               {"length_ns", stall.end_ns - stall.start_ns},
               {"pid", culprit.pid},
               {"comm", culprit.comm},
               {"syscall", text_or_null(culprit.syscall)},
               {"file", text_or_null(culprit.file)},
               {"mode", healthy ? blames_nothing : culprit.fault->expected_mode},
               {"rule", healthy ? blames_nothing : culprit.fault->expected_rule}};
  json.update(stall.extras);
  return json;
}

/// "zombies", "length_ns": the name of a parameter as that of a field.
std::string field_name(const Parameter& parameter) {
  std::string name(parameter.name);
  std::replace(name.begin(), name.end(), '-', '_');
  return parameter.kind == ParameterKind::duration ? name + "_ns" : name;
}

}  // namespace

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string ready_line(const Culprit& culprit, const RunOptions& options, const Json& extras) {
  Json json = {{"type", "ready"}, {"fault", culprit.fault->id}};
  for (const Parameter& parameter : culprit.fault->parameters) {
    json[field_name(parameter)] = options.settings.value(parameter);
  }
  json.update(Json{{"healthy", options.healthy},
                   {"period_ns", options.period_ns},
                   {"cpu", culprit.cpu},
                   {"pid", culprit.pid},
                   {"target", node_address},
                   {"client_netns", client_netns}});
  json.update(extras);
  return line_of(json);
}

std::string stall_line(const Culprit& culprit, const Stall& stall) {
  return line_of(common_fields("stall", culprit, stall, false));
}

std::string control_line(const Culprit& culprit, const Stall& stall, std::string_view type) {
  return line_of(common_fields(type, culprit, stall, true));
}

std::string end_line(std::int64_t count, std::string_view count_name) {
  return line_of({{"type", "end"}, {count_name, count}});
}

Status write_line(int fd, std::string line, StopSignals& stop) {
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {
    if (!stop.wait_writable(fd)) {
      return Error{"write", "the ground truth", "nobody reads it", ""};
    }
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written < 0 && errno != EINTR && errno != EAGAIN) {
      return base::errno_error("write", "the ground truth", errno);
    }
    rest.remove_prefix(written > 0 ? static_cast<std::size_t>(written) : 0);
  }
  return base::ok();
}

}  // namespace stallscope::lab
