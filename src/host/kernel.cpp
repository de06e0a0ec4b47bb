// SPDX-License-Identifier: Apache-2.0
#include "host/kernel.h"

#include <sys/utsname.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <memory>

#include "base/text.h"

namespace stallscope::host {
namespace {

/// Far above NR_CPUS of any distribution; keeps a malformed list from filling memory.
constexpr int cpu_limit = 1 << 16;

/// The number at the start of `text`, which is advanced past it.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take_character(std::string_view& text, char wanted) {
  if (!text.starts_with(wanted)) {
    return false;
  }
  text.remove_prefix(1);
  return true;
}

/// A kernel configuration, compressed or not; empty where there is none.
std::string read_config(const std::string& path) {
  constexpr std::size_t limit_bytes = std::size_t{4} << 20U;
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rbe"), gzclose);
  std::string text;
  if (!file) {
    return text;
  }
  std::array<char, 16384> buffer{};
  while (text.size() < limit_bytes) {
    const int got = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()));
    if (got <= 0) {
      break;
    }
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

/// "y" or a number for a set option; nothing for one that is not.
std::optional<std::string_view> config_value(std::string_view config, std::string_view option) {
  for (const std::string_view line : base::split(config, '\n')) {
    if (line.starts_with(option) && line.substr(option.size()).starts_with('=')) {
      return line.substr(option.size() + 1);
    }
  }
  return std::nullopt;
}

std::optional<Preemption> preemption_from_name(std::string_view name) {
  for (const Preemption preemption : {Preemption::none, Preemption::voluntary, Preemption::full, Preemption::lazy}) {
    if (preemption_name(preemption) == name) {
      return preemption;
    }
  }
  return std::nullopt;
}

std::optional<bool> find_virtualised(const FileTree& files) {
  const base::Result<std::string> cpuinfo = files.read("/proc/cpuinfo");
  if (!cpuinfo) {
    return std::nullopt;
  }
  // x86 only: other architectures do not tell here.
  const std::size_t flags = cpuinfo->find("\nflags");
  if (flags == std::string::npos) {
    return std::nullopt;
  }
  const std::string_view line = std::string_view(*cpuinfo).substr(flags + 1);
  const std::vector<std::string_view> words = base::split_fields(line.substr(0, line.find('\n')));
  return std::find(words.begin(), words.end(), "hypervisor") != words.end();
}

}  // namespace

std::optional<KernelVersion> parse_release(std::string_view release) {
  KernelVersion version;
  const std::optional<int> major = take_number(release);
  if (!major || !take_character(release, '.')) {
    return std::nullopt;
  }
  const std::optional<int> minor = take_number(release);
  if (!minor) {
    return std::nullopt;
  }
  version.major = *major;
  version.minor = *minor;
  if (take_character(release, '.')) {
    version.patch = take_number(release).value_or(0);
  }
  return version;
}

std::vector<std::int32_t> parse_cpu_list(std::string_view text) {
  std::vector<std::int32_t> cpus;
  while (!text.empty() && text != "\n") {
    const std::optional<int> first = take_number(text);
    if (!first) {
      return {};
    }
    int last = *first;
    if (take_character(text, '-')) {
      const std::optional<int> end = take_number(text);
      if (!end) {
        return {};
      }
      last = *end;
    }
    if (last < *first || last >= cpu_limit || (!text.empty() && text != "\n" && !take_character(text, ','))) {
      return {};
    }
    for (int cpu = *first; cpu <= last; ++cpu) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

Preemption find_preemption(std::string_view debugfs, std::string_view version_text, std::string_view command_line,
                           std::string_view config) {
  const std::size_t open = debugfs.find('(');
  if (open != std::string_view::npos) {
    const std::string_view current = debugfs.substr(open + 1);
    if (const auto found = preemption_from_name(current.substr(0, current.find(')')))) {
      return *found;
    }
  }
  const std::vector<std::string_view> version_words = base::split_fields(version_text);
  const auto version_says = [&](std::string_view word) {
    return std::find(version_words.begin(), version_words.end(), word) != version_words.end();
  };
  if (version_says("PREEMPT_RT")) {
    return Preemption::real_time;
  }
  if (version_says("PREEMPT")) {
    return Preemption::full;
  }
  if (version_says("PREEMPT_LAZY")) {
    return Preemption::lazy;
  }
  // What remains was chosen at boot or when the kernel was built. The parameter is obeyed by a dynamic kernel only.
  if (version_says("PREEMPT_DYNAMIC")) {
    constexpr std::string_view parameter = "preempt=";
    for (const std::string_view word : base::split_fields(command_line)) {
      if (word.starts_with(parameter)) {
        return preemption_from_name(word.substr(parameter.size())).value_or(Preemption::unknown);
      }
    }
  }
  constexpr std::array<std::pair<std::string_view, Preemption>, 4> defaults = {{{"CONFIG_PREEMPT_NONE", Preemption::none},
                                                                                {"CONFIG_PREEMPT_VOLUNTARY", Preemption::voluntary},
                                                                                {"CONFIG_PREEMPT_LAZY", Preemption::lazy},
                                                                                {"CONFIG_PREEMPT", Preemption::full}}};
  for (const auto& [option, preemption] : defaults) {
    if (config_value(config, option) == "y") {
      return preemption;
    }
  }
  return Preemption::unknown;
}

std::string_view preemption_name(Preemption preemption) {
  constexpr std::array<std::string_view, 6> names = {"unknown", "none", "voluntary", "full", "lazy", "real-time"};
  return names.at(static_cast<std::size_t>(preemption));
}

Kernel read_kernel(const FileTree& files) {
  Kernel kernel;
  kernel.release = files.read_line("/proc/sys/kernel/osrelease").value_or("");
  kernel.version = parse_release(kernel.release);
  kernel.boot_id = files.read_line("/proc/sys/kernel/random/boot_id").value_or("");
  kernel.hostname = files.read_line("/proc/sys/kernel/hostname").value_or("");
  kernel.architecture = files.read_line("/proc/sys/kernel/arch").value_or("");
  utsname names{};
  if (kernel.architecture.empty() && files.is_live() && ::uname(&names) == 0) {
    kernel.architecture = &names.machine[0];
  }
  kernel.possible_cpus = parse_cpu_list(files.read_line("/sys/devices/system/cpu/possible").value_or(""));
  kernel.online_cpus = parse_cpu_list(files.read_line("/sys/devices/system/cpu/online").value_or(""));

  std::string config = read_config(files.path("/proc/config.gz"));
  if (config.empty() && !kernel.release.empty()) {
    config = read_config(files.path("/boot/config-" + kernel.release));
  }
  if (std::optional<std::string_view> timer_hz = config_value(config, "CONFIG_HZ")) {
    kernel.timer_hz = take_number(*timer_hz);
  }
  kernel.preemption = find_preemption(files.read_line("/sys/kernel/debug/sched/preempt").value_or(""),
                                      files.read_line("/proc/sys/kernel/version").value_or(""),
                                      files.read_line("/proc/cmdline").value_or(""), config);
  kernel.virtualised = find_virtualised(files);
  return kernel;
}

}  // namespace stallscope::host
