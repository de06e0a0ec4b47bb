// SPDX-License-Identifier: Apache-2.0
#include "probe/distortions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/numbers.h"
#include "base/text.h"
#include "base/units.h"
#include "host/rss.h"

namespace stallscope::probe {
namespace {

using base::format_count;
using base::format_duration;

/// A file that holds one number.
struct NumberFile {
  std::string_view fact;
  std::string_view path;
};
constexpr std::array<NumberFile, 6> number_files = {{
    {"conntrack.count", "/proc/sys/net/netfilter/nf_conntrack_count"},
    {"conntrack.max", "/proc/sys/net/netfilter/nf_conntrack_max"},
    {"icmp.ratelimit_ms", "/proc/sys/net/ipv4/icmp_ratelimit"},
    {"icmp.ratemask", "/proc/sys/net/ipv4/icmp_ratemask"},
    {"rfs.flows", "/proc/sys/net/core/rps_sock_flow_entries"},
    {"timestamps.before_queue", "/proc/sys/net/core/netdev_tstamp_prequeue"},
}};

/// A counter of /proc/net/netstat, whose rows come in pairs: names, then values.
struct NetstatCounter {
  std::string_view fact;
  std::string_view name;
};
constexpr std::array<NetstatCounter, 3> netstat_counters = {{
    {"tcp.listen_overflows", "ListenOverflows"},
    {"tcp.cookies_sent", "SyncookiesSent"},
    {"tcp.queue_full_drops", "TCPReqQFullDrop"},
}};

void read_netstat(std::string_view text, DistortionFacts& facts) {
  const std::vector<std::string_view> lines = base::split(text, '\n');
  for (std::size_t i = 0; i + 1 < lines.size(); i += 2) {
    const std::vector<std::string_view> names = base::split_fields(lines[i]);
    const std::vector<std::string_view> values = base::split_fields(lines[i + 1]);
    for (std::size_t column = 1; column < std::min(names.size(), values.size()); ++column) {
      for (const NetstatCounter& counter : netstat_counters) {
        const auto value = base::parse_number<std::int64_t>(values[column]);
        if (names[column] == counter.name && value) {
          facts[std::string(counter.fact)] = *value;
        }
      }
    }
  }
}

/// Hexadecimal columns under a line of names, one row for each CPU.
void read_conntrack_drops(std::string_view text, DistortionFacts& facts) {
  const std::vector<std::string_view> lines = base::split(text, '\n');
  const std::vector<std::string_view> names = lines.empty() ? std::vector<std::string_view>() : base::split_fields(lines[0]);
  std::int64_t drops = 0;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string_view> values = base::split_fields(lines[i]);
    for (std::size_t column = 0; column < std::min(names.size(), values.size()); ++column) {
      if (names[column] == "drop" || names[column] == "early_drop") {
        std::int64_t value = 0;
        constexpr int hexadecimal = 16;
        std::from_chars(values[column].data(), values[column].data() + values[column].size(), value, hexadecimal);
        drops += value;
      }
    }
  }
  if (!names.empty()) {
    facts["conntrack.drops"] = drops;
  }
}

/// How long this thread's process was runnable and did not run: the second number of schedstat.
void read_run_delay(std::string_view text, DistortionFacts& facts) {
  const std::vector<std::string_view> fields = base::split_fields(text);
  constexpr std::size_t delay_column = 1;
  if (fields.size() > delay_column) {
    if (const auto delay_ns = base::parse_number<std::int64_t>(fields[delay_column])) {
      facts["cpu.run_delay_ns"] = *delay_ns;
    }
  }
}

/// The facts of one run, for the checks.
class Facts {
 public:
  Facts(const DistortionFacts& before, const DistortionFacts& after) : before_(before), after_(after) {}

  [[nodiscard]] std::optional<std::int64_t> now(std::string_view name) const { return find(after_, name); }
  [[nodiscard]] std::int64_t increase(std::string_view name) const {
    const std::optional<std::int64_t> first = find(before_, name);
    const std::optional<std::int64_t> last = find(after_, name);
    return first && last && *last > *first ? *last - *first : 0;
  }

 private:
  static std::optional<std::int64_t> find(const DistortionFacts& facts, std::string_view name) {
    const auto found = facts.find(name);
    return found == facts.end() ? std::nullopt : std::optional(found->second);
  }
  const DistortionFacts& before_;
  const DistortionFacts& after_;
};

/// A check says what its facts do to the figures, or nothing where that does not matter.
struct Check {
  std::string_view what;
  std::optional<std::string> (*consequence)(const Facts& facts, const ProbeLoad& load);
};

using Consequence = std::optional<std::string>;

constexpr std::array<Check, 9> checks = {{
    {"connection tracking is nearly full",
     [](const Facts& facts, const ProbeLoad& load) -> Consequence {
       const auto count = facts.now("conntrack.count");
       const auto most = facts.now("conntrack.max");
       if (!count || !most || *most <= 0 || *count + load.tracked_flows < *most) {
         return std::nullopt;
       }
       return fmt::format(
           "it holds {} of {} entries and this run makes up to {}; when full, packets are dropped, which looks like loss.",
           format_count(*count), format_count(*most), format_count(load.tracked_flows));
     }},
    {"connection tracking dropped packets",
     [](const Facts& facts, const ProbeLoad& /*load*/) -> Consequence {
       const std::int64_t drops = facts.increase("conntrack.drops");
       return drops > 0 ? Consequence(fmt::format("{} meanwhile; probes among them look lost.", format_count(drops)))
                        : std::nullopt;
     }},
    {"ICMP errors are limited",
     [](const Facts& facts, const ProbeLoad& load) -> Consequence {
       constexpr std::int64_t unreachable_mask = 1 << 3;
       if (!load.uses_udp || load.icmp_errors == 0 || load.lost <= load.icmp_errors) {
         return std::nullopt;
       }
       const bool here = (facts.now("icmp.ratemask").value_or(unreachable_mask) & unreachable_mask) != 0;
       return fmt::format(
           "kernels answer a closed UDP port about once a second and address{}; that most probes got no error says nothing.",
           here ? " (net.ipv4.icmp_ratelimit, here too)" : "");
     }},
    {"a listener's accept queue was full",
     [](const Facts& facts, const ProbeLoad& load) -> Consequence {
       const std::int64_t overflows = facts.increase("tcp.listen_overflows");
       return load.uses_tcp && overflows > 0
                  ? Consequence(
                        fmt::format("{} times in this network namespace; a SYN that is dropped for it looks lost in the network.",
                                    format_count(overflows)))
                  : std::nullopt;
     }},
    {"SYN cookies were sent",
     [](const Facts& facts, const ProbeLoad& load) -> Consequence {
       const std::int64_t cookies = facts.increase("tcp.cookies_sent") + facts.increase("tcp.queue_full_drops");
       return load.uses_tcp && cookies > 0
                  ? Consequence(fmt::format("or SYNs dropped {} times in this network namespace: a SYN queue was full.",
                                            format_count(cookies)))
                  : std::nullopt;
     }},
    {"this prober had to wait for a CPU",
     [](const Facts& facts, const ProbeLoad& load) -> Consequence {
       constexpr std::int64_t matters_ns = base::ns_per_ms;
       if (load.own_lateness_p999_ns < matters_ns) {
         return std::nullopt;
       }
       return fmt::format("its 99.9th percentile left {} late{}{}; answers are timed by the kernel and not affected.",
                          format_duration(load.own_lateness_p999_ns),
                          load.preferred ? "" : " without the priority that it asks for (CAP_SYS_NICE)",
                          facts.increase("cpu.run_delay_ns") > 0 ? fmt::format(", runnable and not running for {} in all",
                                                                               format_duration(facts.increase("cpu.run_delay_ns")))
                                                                 : "");
     }},
    {"answers are stamped before they wait",
     [](const Facts& facts, const ProbeLoad& /*load*/) -> Consequence {
       const std::int64_t queues = facts.now("rps.queues").value_or(0);
       // The kernel's default.
       if (queues == 0 || facts.now("timestamps.before_queue").value_or(1) == 0) {
         return std::nullopt;
       }
       return fmt::format(
           "RPS moves what {} receive queue{} of this host get{} to other CPUs, and net.core.netdev_tstamp_prequeue stamps "
           "it before it waits for them: answers that one of these CPUs holds up look prompt.",
           format_count(queues), queues == 1 ? "" : "s", queues == 1 ? "s" : "");
     }},
    {"received packets are steered",
     [](const Facts& facts, const ProbeLoad& /*load*/) -> Consequence {
       const bool rfs = facts.now("rfs.flows").value_or(0) > 0 && facts.now("rps.queues").value_or(0) > 0;
       const std::int64_t rules = facts.now("ntuple.rules").value_or(0);
       if (!rfs && rules == 0) {
         return std::nullopt;
       }
       const std::string by = rfs ? "to the CPU that last read the flow's socket (RFS)" : "";
       return fmt::format("Here they go {}{}{}, whatever their ports: which ports stall together does not tell this host's queues.",
                          by, rfs && rules > 0 ? " and " : "",
                          rules > 0 ? fmt::format("where {} rule{} say (ntuple)", format_count(rules), rules == 1 ? "" : "s") : "");
     }},
    {"the hypervisor took CPU time",
     [](const Facts& facts, const ProbeLoad& /*load*/) -> Consequence {
       constexpr std::int64_t matters_ticks = 2;
       const std::int64_t ticks = facts.increase("cpu.steal_ticks");
       return ticks >= matters_ticks ? Consequence(fmt::format("{} ticks of all CPUs; what comes late from this host may be that.",
                                                               format_count(ticks)))
                                     : std::nullopt;
     }},
}};

}  // namespace

DistortionFacts read_distortion_facts(const host::FileTree& files) {
  DistortionFacts facts;
  for (const NumberFile& file : number_files) {
    const std::optional<std::string> line = files.read_line(file.path);
    const auto number = line ? base::parse_number<std::int64_t>(*line) : std::nullopt;
    if (number) {
      facts[std::string(file.fact)] = *number;
    }
  }
  if (const base::Result<std::string> text = files.read("/proc/thread-self/net/netstat")) {
    read_netstat(*text, facts);
  }
  if (const base::Result<std::string> text = files.read("/proc/thread-self/net/stat/nf_conntrack")) {
    read_conntrack_drops(*text, facts);
  }
  if (const base::Result<std::string> text = files.read("/proc/self/schedstat")) {
    read_run_delay(*text, facts);
  }
  // "cpu  user nice system idle iowait irq softirq steal ..."
  constexpr std::size_t steal_column = 8;
  const std::optional<std::string> cpu_line = files.read_line("/proc/stat");
  const std::vector<std::string_view> fields = base::split_fields(cpu_line ? std::string_view(*cpu_line) : std::string_view());
  if (fields.size() > steal_column) {
    if (const auto ticks = base::parse_number<std::int64_t>(fields[steal_column])) {
      facts["cpu.steal_ticks"] = *ticks;
    }
  }
  return facts;
}

void add_steering_facts(DistortionFacts& facts) {
  // A node of containers has hundreds, each of which takes a mount of sysfs to ask.
  constexpr std::size_t most_devices = 16;
  const std::vector<std::string> devices = host::network_devices();
  if (devices.size() > most_devices) {
    return;
  }
  std::int64_t rps_queues = 0;
  std::int64_t rules = 0;
  for (const std::string& device : devices) {
    if (const base::Result<rss::ReceiveQueues> queues = host::read_receive_queues(device)) {
      rps_queues += std::count_if(queues->queues.begin(), queues->queues.end(),
                                  [](const rss::QueueCpus& queue) { return queue.rps_cpus && !queue.rps_cpus->empty(); });
      rules += queues->steering_rule_count.value_or(0);
    }
  }
  facts["rps.queues"] = rps_queues;
  facts["ntuple.rules"] = rules;
}

std::vector<Distortion> find_distortions(const DistortionFacts& before, const DistortionFacts& after, const ProbeLoad& load) {
  const Facts facts(before, after);
  std::vector<Distortion> found;
  for (const Check& check : checks) {
    if (std::optional<std::string> consequence = check.consequence(facts, load)) {
      found.push_back({std::string(check.what), *std::move(consequence)});
    }
  }
  return found;
}

}  // namespace stallscope::probe
