// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/fault.h"

#include <fmt/format.h>

namespace stallscope::lab {
namespace {

std::string value_text(const Parameter& parameter, std::int64_t value) {
  return parameter.kind == ParameterKind::duration ? base::format_duration(value) : base::format_count(value);
}

}  // namespace

void Settings::set_all(const Settings& other) {
  for (const auto& [name, value] : other.values_) {
    values_[name] = value;
  }
}

std::optional<std::int64_t> Settings::find(std::string_view name) const {
  const auto found = values_.find(std::string(name));
  return found == values_.end() ? std::nullopt : std::optional(found->second);
}

std::int64_t Settings::value(const Parameter& parameter) const {
  return find(parameter.name).value_or(parameter.default_value);
}

Settings length_alone(std::int64_t length_ns) {
  return {{"length", length_ns}};
}

base::Result<Settings> complete_settings(const Fault& fault, std::optional<std::int64_t> length_ns, const Settings& given) {
  Settings settings;
  for (const Parameter& parameter : fault.parameters) {
    settings.set(parameter.name, parameter.default_value);
  }
  if (length_ns) {
    settings.set_all(fault.settings_for(*length_ns));
  }
  settings.set_all(given);
  for (const Parameter& parameter : fault.parameters) {
    const std::int64_t value = settings.value(parameter);
    if (value < parameter.minimum || value > parameter.maximum) {
      const std::string shown = parameter.kind == ParameterKind::duration ? base::format_duration(value) : std::to_string(value);
      return base::Error{
          "use", fmt::format("--{} {}", parameter.name, shown),
          fmt::format("must be from {} to {}", value_text(parameter, parameter.minimum), value_text(parameter, parameter.maximum)),
          std::string(parameter.reason_for_bounds)};
    }
  }
  return settings;
}

}  // namespace stallscope::lab
