// SPDX-License-Identifier: Apache-2.0
#include "probe/prober.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <set>
#include <utility>

#include "base/numbers.h"
#include "evidence/syn_mark.h"
#include "host/sockets.h"
#include "probe/hardware_stamps.h"
#include "probe/netns.h"
#include "probe/prober_run.h"
#include "probe/prober_state.h"

namespace stallscope::probe {
namespace {

using evidence::ProbeKind;

/// So many probes can be outstanding at once, at most: 2^20, as many as the bits that a SYN's sequence number carries. 200,000
/// probes/s for 5 s.
constexpr std::int64_t largest_window = std::int64_t{1} << SYN_MARK_SEQUENCE_BITS;
constexpr std::size_t finished_capacity = 8192;

bool is_tcp(ProbeKind kind) {
  return kind == ProbeKind::tcp_syn || kind == ProbeKind::tcp_connect;
}

bool is_connection(ProbeKind kind) {
  return kind == ProbeKind::tcp_connect || kind == ProbeKind::http_get;
}

/// Where a probe of some target is due so often that waking up costs more than sending, several are sent at a time: of each target
/// still one an interval, at the time that is intended for it.
std::int64_t grid_of(const ProbeSchedule& schedule) {
  constexpr std::int64_t rare_ns = 500 * base::ns_per_us;
  constexpr std::int64_t longest_ns = base::ns_per_ms;
  constexpr std::int64_t steps_per_interval = 10;
  const bool rare = schedule.target_count == 1 || schedule.interval_ns / schedule.target_count >= rare_ns;
  return rare ? 1 : std::clamp<std::int64_t>(schedule.interval_ns / steps_per_interval, 1, longest_ns);
}

std::optional<base::Error> out_of_bounds(const ProberOptions& options) {
  if (options.targets.empty() || options.targets.size() > ProberOptions::most_targets) {
    return base::Error{"probe", fmt::format("{} targets", options.targets.size()),
                       fmt::format("from 1 to {} are possible", ProberOptions::most_targets), ""};
  }
  const std::string& first = options.targets.front().name;
  if (options.interval_ns <= 0 || options.duration_ns <= 0 || options.duration_ns > ProberOptions::longest_duration_ns) {
    return base::Error{"probe", first,
                       fmt::format("a duration of {} is not within 24 h", base::format_duration(options.duration_ns)),
                       "Give a duration of more than 0 and at most 24h."};
  }
  if (options.timeout_ns <= 0 || options.timeout_ns > ProberOptions::longest_timeout_ns) {
    return base::Error{"probe", first,
                       fmt::format("a timeout of {} is not within {}", base::format_duration(options.timeout_ns),
                                   base::format_duration(ProberOptions::longest_timeout_ns)),
                       ""};
  }
  const ProbeSchedule schedule{
      .interval_ns = options.interval_ns, .count = 0, .target_count = static_cast<std::int64_t>(options.targets.size())};
  if (schedule.probes_per_second() > options.limit_per_second) {
    return base::Error{"probe", fmt::format("{} targets", options.targets.size()),
                       fmt::format("{} probes/s are more than {}", base::format_count(schedule.probes_per_second()),
                                   base::format_count(options.limit_per_second)),
                       "Probe less often with --interval, or allow for the load that this is with --rate."};
  }
  for (const ProbeTarget& target : options.targets) {
    if ((is_tcp(target.kind) || target.kind == ProbeKind::udp_echo || target.kind == ProbeKind::http_get) && target.to.port == 0) {
      return base::Error{"probe", target.name, "no port is given", "Give one, as in tcp://10.0.1.2:443."};
    }
  }
  if (options.source_ports && (options.source_ports->first == 0 || options.source_ports->last < options.source_ports->first)) {
    return base::Error{"probe from", fmt::format("source ports {}-{}", options.source_ports->first, options.source_ports->last),
                       "not a range of ports", "Give ports from 1 to 65535 with --source-port, as in 40000-40063."};
  }
  return std::nullopt;
}

SessionLimits limits_for(const ProbeSchedule& schedule, const ProberOptions& options) {
  // Half as much again: answers are told apart from strangers' for a while after the timeout.
  std::int64_t outstanding = schedule.probes_per_second() * (options.timeout_ns + (options.timeout_ns / 2)) / base::ns_per_s;
  if (options.most_outstanding > 0) {
    outstanding = std::min(outstanding, options.most_outstanding);
  }
  constexpr std::int64_t smallest_window = 1024;
  const auto window = static_cast<std::int64_t>(
      std::bit_ceil(static_cast<std::uint64_t>(std::clamp(outstanding, smallest_window, largest_window))));
  return {.window = window, .catch_up = window / 2, .finished_capacity = finished_capacity};
}

/// The ports of local TCP sockets in the calling thread's namespace.
std::vector<std::uint16_t> ports_in_use() {
  std::set<std::uint16_t> ports;
  if (const auto sockets = host::read_sockets()) {
    for (const host::SocketState& socket : *sockets) {
      const std::size_t colon = socket.local_address.rfind(':');
      const auto port = base::parse_number<std::uint16_t>(std::string_view(socket.local_address).substr(colon + 1));
      if (socket.protocol.starts_with("tcp") && port) {
        ports.insert(*port);
      }
    }
  }
  return {ports.begin(), ports.end()};
}

std::string request_for(const ProbeTarget& target) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: stallscope\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                     target.http_path.empty() ? "/" : target.http_path, target.http_host);
}

/// Opens what the targets need, in the calling thread's namespace.
class Setup {
 public:
  explicit Setup(Prober::State& state) : state_(state) {}

  base::Status open_all() {
    if (!Channel::raw_permitted()) {
      connect_instead();
    }
    if (base::Status status = find_routes(); !status) {
      return status;
    }
    find_hardware();
    for (std::size_t i = 0; i < state_.options.targets.size(); ++i) {
      ProbeTarget& target = state_.options.targets[i];
      TargetState& opened = state_.targets[i];
      if (!is_connection(target.kind)) {
        if (base::Status status = link(target, opened); !status) {
          return status;
        }
      }
      if (is_connection(target.kind)) {
        if (base::Status status = connect(target, opened); !status) {
          return status;
        }
      }
      opened.first_flow_id = next_flow_id_;
      next_flow_id_ += flow_count(target, opened);
    }
    if (tcp_count_ > 0) {
      const std::vector<std::uint16_t> in_use = ports_in_use();
      state_.tcp_ports.emplace(tcp_range(), tcp_count_, in_use, state_.token);
    }
    return base::ok();
  }

 private:
  base::Status find_routes() {
    for (std::size_t i = 0; i < state_.options.targets.size(); ++i) {
      const ProbeTarget& target = state_.options.targets[i];
      const base::Result<Endpoint> from = route_to(target.to);
      if (!from) {
        base::Error error = from.error();
        error.object = target.name;
        return error;
      }
      state_.targets[i].from = *from;
    }
    return base::ok();
  }

  void find_hardware() {
    std::vector<Endpoint> sources;
    for (const TargetState& target : state_.targets) {
      if (std::none_of(sources.begin(), sources.end(), [&](const Endpoint& known) { return known.same_address(target.from); })) {
        sources.push_back(target.from);
      }
    }
    HardwareStamps found = find_hardware_stamps(sources);
    if (found.gap) {
      add_gap(*std::move(found.gap));
    }
    state_.phc = std::move(found.clock);
    hardware_receive_ = found.receive;
    hardware_transmit_ = found.transmit;
  }

  [[nodiscard]] PortRange tcp_range() const { return state_.options.source_ports.value_or(default_source_ports); }

  [[nodiscard]] std::int64_t flow_count(const ProbeTarget& target, const TargetState& opened) const {
    if (target.kind == ProbeKind::tcp_syn) {
      return static_cast<std::int64_t>(tcp_range().size());
    }
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(opened.link_count));
  }

  /// Finds the links for a target's packets, or opens them.
  base::Status link(ProbeTarget& target, TargetState& opened) {
    opened.link_count = 1;
    for (std::size_t i = 0; i < state_.links.size(); ++i) {
      const Channel& channel = state_.links[i].channel;
      if (channel.kind() == target.kind && channel.family() == target.to.family) {
        opened.first_link = i;
        opened.link_count = target.kind == ProbeKind::udp_echo ? udp_port_count() : 1;
        opened.tcp_index = target.kind == ProbeKind::tcp_syn ? tcp_count_++ : 0;
        return base::ok();
      }
    }
    opened.first_link = state_.links.size();
    ChannelOptions options;
    options.kind = target.kind;
    options.family = target.to.family;
    options.transmit_timestamps = state_.options.transmit_timestamps;
    options.hardware_receive_timestamps = hardware_receive_;
    options.hardware_transmit_timestamps = hardware_transmit_;
    options.tcp_source_ports = tcp_range();
    options.icmp_identifier = state_.options.icmp_identifier;
    if (target.kind != ProbeKind::udp_echo) {
      opened.tcp_index = target.kind == ProbeKind::tcp_syn ? tcp_count_++ : 0;
      return add_link(options);
    }
    opened.link_count = udp_port_count();
    for (std::size_t i = 0; i < opened.link_count; ++i) {
      options.udp_source_port =
          state_.options.source_ports ? static_cast<std::uint16_t>(state_.options.source_ports->first + i) : std::uint16_t{0};
      if (base::Status status = add_link(options); !status) {
        return status;
      }
    }
    return base::ok();
  }

  [[nodiscard]] std::size_t udp_port_count() const {
    return state_.options.source_ports ? std::min(state_.options.source_ports->size(), ProberOptions::most_udp_ports) : 1;
  }

  base::Status add_link(const ChannelOptions& options) {
    base::Result<Channel> channel = Channel::open(options);
    if (!channel) {
      return channel.error();
    }
    if (options.kind == ProbeKind::icmp_echo && !channel->is_raw() && !options.icmp_identifier) {
      add_gap({"raw ICMP sockets", "CAP_NET_RAW is missing; ping sockets are used",
               "The kernel chooses the identifier of the echo requests."});
    }
    std::unique_ptr<PacketKind> kind = make_packet_kind(options.kind, options.family, state_.token, channel->identifier());
    state_.links.push_back({*std::move(channel), std::move(kind), {}, 0});
    return base::ok();
  }

  /// Where raw sockets are not permitted.
  void connect_instead() {
    bool any = false;
    for (ProbeTarget& target : state_.options.targets) {
      if (target.kind == ProbeKind::tcp_syn) {
        target.kind = ProbeKind::tcp_connect;
        any = true;
      }
    }
    if (!any) {
      return;
    }
    add_gap({"raw SYNs", "CAP_NET_RAW is missing; connect(2) is used",
             "Times are taken when this process notices, source ports are the kernel's choice, a lost SYN is sent again after 1 s, "
             "and an accept queue gets a connection that is reset at once."});
  }

  void add_gap(evidence::GapRecord gap) {
    const auto known = std::find(state_.gaps.begin(), state_.gaps.end(), gap);
    if (known == state_.gaps.end()) {
      state_.gaps.push_back(std::move(gap));
    }
  }

  base::Status connect(const ProbeTarget& target, TargetState& opened) {
    opened.link_count = 0;
    if (target.kind == ProbeKind::http_get) {
      opened.http_request = request_for(target);
    }
    if (!state_.connections) {
      base::Result<Connections> connections = Connections::open(state_.options.connection_capacity);
      if (!connections) {
        return connections.error();
      }
      state_.connections.emplace(*std::move(connections));
    }
    return base::ok();
  }

  Prober::State& state_;
  std::size_t tcp_count_ = 0;
  std::int64_t next_flow_id_ = 1;
  bool hardware_receive_ = false;
  bool hardware_transmit_ = false;
};

}  // namespace

Prober::Prober(std::unique_ptr<State> state) : state_(std::move(state)) {}
Prober::Prober(Prober&&) noexcept = default;
Prober& Prober::operator=(Prober&&) noexcept = default;
Prober::~Prober() = default;

base::Result<Prober> Prober::open(ProberOptions options) {
  if (std::optional<base::Error> refusal = out_of_bounds(options)) {
    return *std::move(refusal);
  }
  ProbeSchedule schedule{.interval_ns = options.interval_ns, .target_count = static_cast<std::int64_t>(options.targets.size())};
  schedule.grid_ns = grid_of(schedule);
  schedule.count = std::max<std::int64_t>(1, options.duration_ns / options.interval_ns) * schedule.target_count;
  std::shared_ptr<NetworkNamespace> netns;
  if (!options.netns.empty()) {
    base::Result<NetworkNamespace> opened = NetworkNamespace::open(options.netns);
    if (!opened) {
      return opened.error();
    }
    netns = std::make_shared<NetworkNamespace>(*std::move(opened));
  }
  const SessionLimits limits = limits_for(schedule, options);
  const std::size_t target_count = options.targets.size();
  auto state = std::make_unique<State>(std::move(options), schedule, limits);
  state->targets.resize(target_count);
  if (getrandom(&state->token, sizeof state->token, 0) != static_cast<ssize_t>(sizeof state->token)) {
    return base::errno_error("draw", "a random session token", errno);
  }
  state->token = state->options.syn_token.value_or(state->token);
  state->netns = netns;
  base::Status opened = base::ok();
  const auto open_here = [&] { opened = Setup(*state).open_all(); };
  if (!netns) {
    open_here();
  } else if (const base::Status entered = run_in_netns(*netns, open_here); !entered) {
    return entered.error();
  }
  if (!opened) {
    return opened.error();
  }
  return Prober(std::move(state));
}

const std::vector<ProbeTarget>& Prober::targets() const {
  return state_->options.targets;
}

std::size_t Prober::target_of(std::int64_t sequence) const {
  return state_->target_of(sequence);
}

evidence::FlowRecord Prober::flow(std::int64_t flow_id) const {
  const auto after = std::upper_bound(state_->targets.begin(), state_->targets.end(), flow_id,
                                      [](std::int64_t id, const TargetState& target) { return id < target.first_flow_id; });
  if (after == state_->targets.begin()) {
    return {};
  }
  const auto index = static_cast<std::size_t>(after - state_->targets.begin()) - 1;
  const TargetState& state = state_->targets[index];
  const ProbeTarget& target = state_->options.targets[index];
  evidence::FlowRecord flow;
  flow.id = flow_id;
  flow.kind = target.kind;
  flow.target = target.name;
  flow.source_address = address_text(state.from);
  flow.target_address = address_text(target.to);
  flow.target_port = target.to.port;
  const auto offset = static_cast<std::size_t>(flow_id - state.first_flow_id);
  if (target.kind == ProbeKind::tcp_syn && state_->tcp_ports) {
    flow.source_port = static_cast<std::uint16_t>(state_->tcp_ports->range().first + offset);
  } else if (target.kind == ProbeKind::udp_echo && offset < state.link_count) {
    flow.source_port = state_->links[state.first_link + offset].channel.source_port();
  }
  return flow;
}

std::optional<std::uint16_t> Prober::icmp_identifier() const {
  const auto link = std::find_if(state_->links.begin(), state_->links.end(),
                                 [](const Link& candidate) { return candidate.channel.kind() == ProbeKind::icmp_echo; });
  return link == state_->links.end() ? std::nullopt : std::optional(link->channel.identifier());
}

std::optional<std::uint64_t> Prober::syn_token() const {
  const bool any = std::any_of(state_->links.begin(), state_->links.end(),
                               [](const Link& link) { return link.channel.kind() == ProbeKind::tcp_syn; });
  return any ? std::optional(state_->token) : std::nullopt;
}

const std::vector<evidence::GapRecord>& Prober::gaps() const {
  return state_->gaps;
}

std::int64_t Prober::window_bytes() const {
  return state_->session.window_bytes();
}

base::Result<ProberSummary> Prober::run(const std::stop_token& stop, const ProbeBatchSink& sink) {
  if (!state_->netns || !state_->connections) {
    return run_prober(*state_, stop, sink);
  }
  // Connections are opened while it runs, and belong to the namespace of the thread that opens them.
  base::Result<ProberSummary> summary = ProberSummary{};
  const base::Status entered = run_in_netns(*state_->netns, [&] { summary = run_prober(*state_, stop, sink); });
  return entered ? summary : base::Result<ProberSummary>(entered.error());
}

}  // namespace stallscope::probe
