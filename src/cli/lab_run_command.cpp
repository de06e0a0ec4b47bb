// SPDX-License-Identifier: Apache-2.0
#include "cli/lab_run_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "cli/commands.h"
#include "lab/faults/catalogue.h"
#include "lab/session.h"
#include "lab/stop_signals.h"
#include "lab/topology.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;

constexpr std::string_view length_name = "length";

/// The options that every fault has.
struct CommonArguments {
  int cpu = 0;
  int receive_cpu = -1;
  std::string period = "1s";
  std::string duration = "20s";
  std::string length;
  bool healthy = false;
};

/// The options of one fault. The maps keep their values in place, as CLI11 needs it.
struct FaultArguments {
  std::map<std::string_view, std::int64_t> counts;
  std::map<std::string_view, std::string> durations;
  std::vector<std::pair<const lab::Parameter*, const CLI::Option*>> options;
};

const lab::Parameter* find_length(const lab::Fault& fault) {
  for (const lab::Parameter& parameter : fault.parameters) {
    if (parameter.name == length_name) {
      return &parameter;
    }
  }
  return nullptr;
}

Result<std::optional<std::int64_t>> parse_length(const lab::Fault& fault, const std::string& text) {
  if (text.empty()) {
    return std::optional<std::int64_t>();
  }
  const lab::Parameter* own = find_length(fault);
  const Result<std::int64_t> length =
      base::parse_duration("--length", text, own != nullptr ? own->minimum : lab::shortest_length_ns,
                           own != nullptr ? own->maximum : lab::longest_length_ns);
  return length ? Result<std::optional<std::int64_t>>(std::optional(*length)) : length.error();
}

/// What was given for the fault's own parameters.
Result<lab::Settings> parse_given(const FaultArguments& arguments) {
  lab::Settings given;
  for (const auto& [parameter, option] : arguments.options) {
    if (option->count() == 0) {
      continue;
    }
    if (parameter->kind == lab::ParameterKind::count) {
      given.set(parameter->name, arguments.counts.at(parameter->name));
      continue;
    }
    const Result<std::int64_t> value = base::parse_duration(
        fmt::format("--{}", parameter->name), arguments.durations.at(parameter->name), parameter->minimum, parameter->maximum);
    if (!value) {
      return value.error();
    }
    given.set(parameter->name, *value);
  }
  return given;
}

Result<lab::Settings> parse_settings(const lab::Fault& fault, const CommonArguments& common, const FaultArguments& own) {
  const Result<std::optional<std::int64_t>> length = parse_length(fault, common.length);
  if (!length) {
    return length.error();
  }
  const Result<lab::Settings> given = parse_given(own);
  return given ? lab::complete_settings(fault, *length, *given) : given.error();
}

Result<lab::RunOptions> parse_options(const lab::Fault& fault, const CommonArguments& common, const FaultArguments& own) {
  constexpr std::int64_t shortest_ns = 10 * base::ns_per_ms;
  constexpr std::int64_t longest_ns = 3600 * base::ns_per_s;
  Result<lab::Settings> settings = parse_settings(fault, common, own);
  if (!settings) {
    return settings.error();
  }
  const Result<std::int64_t> period = base::parse_duration("--period", common.period, shortest_ns, longest_ns);
  if (!period) {
    return period.error();
  }
  const Result<std::int64_t> duration = base::parse_duration("--for", common.duration, shortest_ns, longest_ns);
  if (!duration) {
    return duration.error();
  }
  if (Status online = lab::check_cpu_online("--cpu", common.cpu); !online) {
    return online.error();
  }
  const int receive_cpu = common.receive_cpu < 0 ? common.cpu : common.receive_cpu;
  if (Status online = lab::check_cpu_online("--receive-cpu", receive_cpu); !online) {
    return online.error();
  }
  return lab::RunOptions{.settings = std::move(*settings),
                         .cpu = common.cpu,
                         .receive_cpu = receive_cpu,
                         .period_ns = *period,
                         .duration_ns = *duration,
                         .healthy = common.healthy};
}

Status run(const std::vector<const lab::Fault*>& faults, const CommonArguments& common, const FaultArguments& own) {
  std::vector<lab::FaultRun> runs;
  for (const lab::Fault* fault : faults) {
    Result<lab::RunOptions> options = parse_options(*fault, common, own);
    if (!options) {
      return options.error();
    }
    runs.push_back({fault, std::move(*options)});
  }
  Result<lab::StopSignals> stop = lab::StopSignals::block();
  if (!stop) {
    return stop.error();
  }
  return lab::run_faults(runs, *stop, {STDOUT_FILENO, tell_lab_progress});
}

/// What is no fault to CLI11: "A+B", or one that there is none of.
Status run_by_name(const std::vector<std::string>& words, const CommonArguments& common) {
  const Result<std::vector<const lab::Fault*>> faults = lab::find_faults(words.empty() ? "FAULT" : words.front());
  if (!faults) {
    return faults.error();
  }
  if (words.size() > 1) {
    return base::Error{"use", words[1], fmt::format("{} takes the options that every fault has", words.front()), ""};
  }
  return run(*faults, common, {});
}

void add_common_options(CLI::App& command, CommonArguments& arguments, std::string_view healthy_help) {
  command.add_option("--cpu", arguments.cpu, "The CPU that is held up")->capture_default_str();
  command.add_option("--receive-cpu", arguments.receive_cpu, "The CPU that receives on the node (default: that of --cpu)");
  command.add_option("--period", arguments.period, "Time from one stall to the next")->capture_default_str();
  command.add_option("--for", arguments.duration, "How long to go on; Ctrl-C ends it earlier")->capture_default_str();
  command.add_flag("--healthy", arguments.healthy, fmt::format("The control: {}", healthy_help));
}

std::string default_text(const lab::Parameter& parameter) {
  if (parameter.kind == lab::ParameterKind::count) {
    return std::to_string(parameter.default_value);
  }
  // As it is typed: "100ms", not "100 ms".
  std::string text = base::format_duration(parameter.default_value);
  std::erase(text, ' ');
  return text;
}

CLI::Option* add_parameter(CLI::App& command, const lab::Parameter& parameter, CommonArguments& common, FaultArguments& own) {
  const std::string name = fmt::format("--{}", parameter.name);
  const std::string help(parameter.help);
  if (parameter.name == length_name) {
    return command.add_option(name, common.length, help);
  }
  if (parameter.kind == lab::ParameterKind::count) {
    return command.add_option(name, own.counts[parameter.name], help);
  }
  return command.add_option(name, own.durations[parameter.name], help);
}

void add_fault(CLI::App& run_command, const lab::Fault& fault, const std::shared_ptr<CommonArguments>& common, int& exit_status) {
  const auto own = std::make_shared<FaultArguments>();
  CLI::App* command = run_command.add_subcommand(std::string(fault.id), std::string(fault.summary));
  for (const lab::Parameter& parameter : fault.parameters) {
    CLI::Option* option = add_parameter(*command, parameter, *common, *own)->default_str(default_text(parameter));
    if (parameter.name != length_name) {
      own->options.emplace_back(&parameter, option);
    }
  }
  if (find_length(fault) == nullptr) {
    command->add_option("--length", common->length, "Set the options above for stalls of about this length, 10ms to 500ms");
  }
  add_common_options(*command, *common, fault.healthy_help);
  command->footer(
      fmt::format("EXAMPLES\n"
                  "  sudo stallscope lab run {0}\n"
                  "  sudo stallscope lab run {0} --length 50ms --period 500ms --for 1m\n"
                  "  sudo stallscope lab run {0} --healthy",
                  fault.id));
  command->callback([&fault, common, own, &exit_status] { exit_status = report_lab(run({&fault}, *common, *own)); });
}

}  // namespace

void tell_lab_progress(std::string_view line) {
  fmt::print(stderr, "lab: {}\n", line);
}

int report_lab(const Status& status) {
  if (status) {
    return exit_clean;
  }
  fmt::print(stderr, "stallscope: {}\n", status.error().message());
  return exit_error;
}

void add_lab_run(CLI::App& lab, int& exit_status) {
  const auto common = std::make_shared<CommonArguments>();
  CLI::App* command = lab.add_subcommand("run", "Cause a fault and print the ground truth of each stall as JSON lines");
  add_common_options(*command, *common, "the same work without the damage");
  command->add_option("--length", common->length, "Set the options of the fault for stalls of about this length, 10ms to 500ms");
  for (const lab::Fault* fault : lab::faults()) {
    add_fault(*command, *fault, common, exit_status);
  }
  command->footer(
      "'stallscope lab run FAULT --help' explains the options of a fault. The topology\n"
      "is made if it is not up. Whatever ends the run, all it made is removed.\n"
      "FAULT+FAULT causes both, half a period apart; it takes the options above.\n"
      "\n"
      "EXAMPLES\n"
      "  Stall CPU 0 for about 100 ms once a second, for 20 s:\n"
      "    sudo stallscope lab run memcg-stat-flush\n"
      "  Stall CPU 1 for about 20 ms five times a second while CPU 0 receives:\n"
      "    sudo stallscope lab run memcg-stat-flush --length 20ms --cpu 1 --receive-cpu 0 --period 200ms\n"
      "  Two causes at once, each on CPU 0 once a second:\n"
      "    sudo stallscope lab run irq-off-section+softirq-vector --length 50ms\n"
      "  The healthy control:\n"
      "    sudo stallscope lab run memcg-stat-flush --healthy");
  // A fault that is no subcommand is no usage error to CLI11's mind but a word left over.
  command->require_subcommand(0, 1);
  command->allow_extras();
  command->callback([command, common, &exit_status] {
    if (command->get_subcommands().empty()) {
      exit_status = report_lab(run_by_name(command->remaining(), *common));
    }
  });
}

}  // namespace stallscope::cli
