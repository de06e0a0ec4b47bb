// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

std::string describe_machine(const host::HostFacts& facts) {
  const host::Kernel& kernel = facts.kernel;
  std::vector<std::string> parts;
  parts.push_back(fmt::format("{}: Linux {}", kernel.hostname.empty() ? "this host" : kernel.hostname,
                              kernel.release.empty() ? "of unknown version" : kernel.release));
  if (!kernel.architecture.empty()) {
    parts.push_back(kernel.architecture);
  }
  if (!kernel.online_cpus.empty()) {
    const std::size_t offline = kernel.possible_cpus.size() - std::min(kernel.possible_cpus.size(), kernel.online_cpus.size());
    parts.push_back(fmt::format("{} CPU{}", kernel.online_cpus.size(), kernel.online_cpus.size() == 1 ? "" : "s") +
                    (offline > 0 ? fmt::format(" ({} more possible)", offline) : ""));
  }
  if (kernel.timer_hz) {
    parts.push_back(fmt::format("HZ {}", *kernel.timer_hz));
  }
  parts.push_back(fmt::format("preemption {}", host::preemption_name(kernel.preemption)));
  if (kernel.virtualised) {
    parts.emplace_back(*kernel.virtualised ? "virtual machine" : "no hypervisor");
  }
  parts.push_back(facts.memory_cgroups.version == 0 ? "no memory cgroups"
                                                    : fmt::format("memory cgroups v{}", facts.memory_cgroups.version));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string_view verdict_sentence(host::Verdict verdict) {
  switch (verdict) {
    case host::Verdict::ready:
      return "diagnose works here.";
    case host::Verdict::partial:
      return "diagnose works here only in part.";
    case host::Verdict::unable:
      break;
  }
  return "diagnose cannot observe this host's kernel.";
}

std::string describe_check(const host::Check& check) {
  if (check.presence == host::Presence::present) {
    return check.purpose;
  }
  return check.reason + ". " + check.cost;
}

std::string group(std::string_view heading, host::Presence presence, const host::Readiness& readiness, std::size_t width) {
  constexpr std::size_t indent = 28;
  std::string text;
  std::size_t count = 0;
  for (const host::Check& check : readiness.checks) {
    if (check.presence == presence) {
      ++count;
      const std::string_view mark = presence == host::Presence::present || check.need == host::Need::extra ? "  " : "! ";
      text += entry(std::string(mark) + check.name, base::printable(describe_check(check)), indent, width) + "\n";
    }
  }
  return count == 0 ? std::string() : fmt::format("\n{} ({})\n", heading, count) + text;
}

nlohmann::ordered_json host_json(const host::HostFacts& facts) {
  const host::Kernel& kernel = facts.kernel;
  nlohmann::ordered_json object;
  object["hostname"] = kernel.hostname;
  object["kernel_release"] = kernel.release;
  object["boot_id"] = kernel.boot_id;
  object["architecture"] = kernel.architecture;
  object["cpus_possible"] = kernel.possible_cpus.size();
  object["cpus_online"] = kernel.online_cpus;
  object["timer_hz"] = kernel.timer_hz ? nlohmann::ordered_json(*kernel.timer_hz) : nlohmann::ordered_json();
  object["preemption"] = host::preemption_name(kernel.preemption);
  object["virtualised"] = kernel.virtualised ? nlohmann::ordered_json(*kernel.virtualised) : nlohmann::ordered_json();
  object["memory_cgroup_version"] = facts.memory_cgroups.version;
  object["memory_cgroup_mount"] = facts.memory_cgroups.mount_point;
  return object;
}

}  // namespace

std::string doctor_text(const host::HostFacts& facts, const host::Readiness& readiness, std::size_t width) {
  std::string text = base::wrap(base::printable(describe_machine(facts)), width, 2) + "\n\n";
  text += verdict_sentence(readiness.verdict);
  text += "\n";
  text += group("Can see", host::Presence::present, readiness, width);
  text += group("Cannot see", host::Presence::absent, readiness, width);
  text += group("Unknown", host::Presence::unknown, readiness, width);
  if (!readiness.advice.empty()) {
    text += "\nWhat helps\n";
    for (const std::string& advice : readiness.advice) {
      text += entry("  -", advice, 4, width) + "\n";
    }
  }
  if (readiness.verdict != host::Verdict::ready) {
    text += "\n! marks what diagnose needs to be complete.\n";
  }
  return text;
}

std::string doctor_json(const host::HostFacts& facts, const host::Readiness& readiness) {
  nlohmann::ordered_json json;
  json["schema"] = "stallscope-doctor-1";
  json["verdict"] = host::verdict_name(readiness.verdict);
  json["host"] = host_json(facts);
  json["checks"] = nlohmann::ordered_json::array();
  for (const host::Check& check : readiness.checks) {
    json["checks"].push_back({{"name", check.name},
                              {"state", host::presence_name(check.presence)},
                              {"need", host::need_name(check.need)},
                              {"purpose", check.purpose},
                              {"reason", check.reason},
                              {"cost", check.cost},
                              {"advice", check.advice},
                              {"since", check.since},
                              {"commit", check.commit}});
  }
  json["advice"] = readiness.advice;
  // Host names and paths need not be UTF-8; a replaced byte is better than no report.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace stallscope::cli
