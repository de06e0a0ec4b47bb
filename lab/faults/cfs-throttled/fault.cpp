// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/cfs-throttled/fault.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "host/cpu_quota.h"
#include "lab/culprit.h"
#include "lab/faults/cfs-throttled/quota_cgroup.h"
#include "lab/faults/cfs-throttled/throttle_gaps.h"
#include "lab/topology.h"

namespace stallscope::lab::cfs_throttled {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr std::array<Parameter, 1> parameters = {{
    {.name = "length",
     .help = "How long the server is throttled in a period of its quota",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = shortest_length_ns,
     .maximum = longest_length_ns,
     .reason_for_bounds = "A period of the quota has 1 s at most, and the server needs some of it."},
}};

/// The kernel hands out CPU time in slices of 5 ms (sched_cfs_bandwidth_slice_us), and looks at the tick whether it is used up.
constexpr std::int64_t least_quota_ns = 5 * base::ns_per_ms;
constexpr std::int64_t quota_divisor = 5;

host::CpuQuota quota_for(std::int64_t length_ns) {
  const std::int64_t quota_ns = std::max(least_quota_ns, length_ns / quota_divisor);
  return {quota_ns, quota_ns + length_ns};
}

/// What one request takes: so much that it meets the end of its quota, waits for the next period, whichever part of one is left,
/// uses that up as well, waits for all of the length, and ends in a third.
std::int64_t work_of(const host::CpuQuota& quota) {
  return quota.quota_ns * 5 / 2;
}

struct Server {
  OwnedFd client;
  OwnedFd server;
  std::string address;
};

Result<Server> make_server() {
  if (Status entered = enter_namespace(node_netns); !entered) {
    return entered.error();
  }
  Server made;
  made.server = OwnedFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  made.client = OwnedFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, std::string(node_address).c_str(), &address.sin_addr);
  socklen_t size = sizeof address;
  // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): what the socket calls take
  if (!made.server || !made.client || ::bind(made.server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::getsockname(made.server.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      ::connect(made.client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return base::errno_error("open", "a socket of the lab", errno);
  }
  // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
  made.address = fmt::format("{}:{}", node_address, ntohs(address.sin_port));
  return made;
}

std::int64_t cpu_time_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec * base::ns_per_s + time.tv_nsec;
}

/// Computes for so much CPU time; the gaps are when it did not get to.
std::vector<Gap> work(std::int64_t work_ns) {
  constexpr std::int64_t least_gap_ns = base::ns_per_ms;
  std::vector<Gap> gaps;
  const std::int64_t end_cpu_ns = cpu_time_ns() + work_ns;
  std::int64_t last_ns = base::monotonic_ns();
  while (cpu_time_ns() < end_cpu_ns) {
    const std::int64_t now_ns = base::monotonic_ns();
    if (now_ns - last_ns >= least_gap_ns) {
      gaps.push_back({last_ns, now_ns});
    }
    last_ns = now_ns;
  }
  return gaps;
}

/// One request, by whoever waits for its answer.
struct Answer {
  std::int64_t asked_ns = 0;
  std::int64_t answered_ns = 0;
  std::vector<Gap> gaps;
};

Result<Answer> ask(const Server& server, std::int64_t work_ns) {
  std::array<char, 1> byte{};
  sockaddr_in from{};
  socklen_t size = sizeof from;
  Answer answer;
  answer.asked_ns = base::monotonic_ns();
  // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): what the socket calls take
  if (::send(server.client.get(), byte.data(), byte.size(), 0) < 0 ||
      ::recvfrom(server.server.get(), byte.data(), byte.size(), 0, reinterpret_cast<sockaddr*>(&from), &size) < 0) {
    return base::errno_error("send", "a request of the lab", errno);
  }
  answer.gaps = work(work_ns);
  if (::sendto(server.server.get(), byte.data(), byte.size(), 0, reinterpret_cast<const sockaddr*>(&from), size) < 0 ||
      ::recv(server.client.get(), byte.data(), byte.size(), 0) < 0) {
    return base::errno_error("answer", "a request of the lab", errno);
  }
  // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
  answer.answered_ns = base::monotonic_ns();
  return answer;
}

struct Plan {
  host::CgroupHierarchy hierarchy;
  /// As /proc/PID/cgroup has it.
  std::string cgroup;
  host::CpuQuota quota;
  bool healthy = false;
};

std::int64_t sum_ns(const std::vector<Gap>& gaps) {
  std::int64_t sum_ns = 0;
  for (const Gap& gap : gaps) {
    sum_ns += gap.end_ns - gap.start_ns;
  }
  return sum_ns;
}

Result<Turn> turn(const Server& server, const Plan& plan) {
  const Result<host::ThrottleCounts> before = host::read_throttle_counts({}, plan.hierarchy, plan.cgroup);
  const Result<Answer> answer = ask(server, work_of(plan.quota));
  const Result<host::ThrottleCounts> after = host::read_throttle_counts({}, plan.hierarchy, plan.cgroup);
  if (!answer || !before || !after) {
    return !answer ? answer.error() : (before ? after.error() : before.error());
  }
  const Json extras = {{"address", server.address}, {"answer_ns", answer->answered_ns - answer->asked_ns}};
  if (plan.healthy) {
    return Turn{{{answer->asked_ns, answer->answered_ns, extras}}};
  }
  Turn done;
  // On a busy machine much of a gap may be others' turn on the CPU.
  if (after->throttled_ns - before->throttled_ns < sum_ns(answer->gaps) * 4 / 5) {
    return done;
  }
  for (const Gap& gap : throttled_gaps(answer->gaps, after->throttled_count - before->throttled_count)) {
    done.stalls.push_back({gap.start_ns, gap.end_ns, extras});
  }
  return done;
}

Result<PreparedCulprit> prepare(const Plan& plan) {
  Result<Server> made = make_server();
  if (!made) {
    return made.error();
  }
  const auto server = std::make_shared<Server>(std::move(*made));
  return PreparedCulprit{[server, plan] { return turn(*server, plan); },
                         {{"address", server->address},
                          {"quota_ns", plan.quota.quota_ns},
                          {"quota_period_ns", plan.quota.period_ns},
                          {"work_ns", work_of(plan.quota)}}};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  const host::CpuQuota quota = quota_for(options.settings.value(parameters[0]));
  Result<QuotaCgroup> cgroup = QuotaCgroup::make(options.healthy ? std::nullopt : std::optional(quota));
  if (!cgroup) {
    return cgroup.error();
  }
  const Plan plan{.hierarchy = cgroup->hierarchy(), .cgroup = cgroup->name(), .quota = quota, .healthy = options.healthy};
  Status ran = run_culprit(
      {.fault = fault, .options = options, .comm = "lab-server", .cgroup_path = cgroup->path()}, [&] { return prepare(plan); },
      stop, output);
  Status removed = cgroup->remove();
  return ran ? removed : ran;
}

Result<bool> remove_leftovers(const Progress& /*progress*/) {
  return remove_quota_cgroup();
}

}  // namespace

constexpr Fault fault = {
    .id = "cfs-throttled",
    .summary = "a server uses up its CPU quota and answers late: the packet path is innocent",
    .expected_rule = "cfs-throttling",
    .expected_mode = blames_nothing,
    .healthy_help = "the same work, without a quota",
    .parameters = parameters,
    .settings_for = length_alone,
    // Three periods of the longest quota, 600 ms each.
    .turn_ns = 1'800 * base::ns_per_ms,
    .run = run,
    .remove_leftovers = remove_leftovers,
};

}  // namespace stallscope::lab::cfs_throttled
