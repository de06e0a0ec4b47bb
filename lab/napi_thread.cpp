// SPDX-License-Identifier: Apache-2.0
#include "lab/napi_thread.h"

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/owned_fd.h"
#include "base/units.h"
#include "lab/threads.h"
#include "lab/topology.h"
#include "lab/wait_for.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

constexpr std::string_view device = "n0";
constexpr std::string_view peer = "c0";
constexpr const char* threaded_file = "/sys/class/net/n0/threaded";

/// One of the commands that get or set a feature of a device, in the namespace of the caller. Says whether it is on.
Result<bool> ask_ethtool(std::string_view name, __u32 command, bool on = false) {
  const base::OwnedFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) {
    return base::errno_error("open", "a socket", errno);
  }
  ethtool_value value{command, on ? 1U : 0U};
  ifreq request{};
  name.copy(static_cast<char*>(request.ifr_name), sizeof request.ifr_name - 1);
  // The interface of ioctl(2).
  request.ifr_data = reinterpret_cast<char*>(&value);  // NOLINT(cppcoreguidelines-pro-type-reinterpret-cast)
  if (::ioctl(socket.get(), SIOCETHTOOL, &request) != 0) {
    return base::errno_error("use ethtool on", std::string(name), errno);
  }
  return value.data != 0;
}

Status set_segmentation(bool on) {
  return in_namespace(client_netns, [&] {
    const Result<bool> set = ask_ethtool(peer, ETHTOOL_STSO, on);
    return set ? base::ok() : Status(set.error());
  });
}

Status set_gro(bool on) {
  return in_namespace(node_netns, [&] {
    const Result<bool> set = ask_ethtool(device, ETHTOOL_SGRO, on);
    return set ? base::ok() : Status(set.error());
  });
}

Status set_threaded(std::string_view value) {
  return in_namespace(node_netns, [&] { return base::write_file(threaded_file, value); });
}

Status all_of(std::initializer_list<std::function<Status()>> steps) {
  for (const std::function<Status()>& step : steps) {
    if (Status done = step(); !done) {
      return done;
    }
  }
  return base::ok();
}

/// veth gives packets to NAPI only while the receiving end has GRO (d3256efd8e8b, Linux 5.13) and the sending end lets nothing
/// through that is larger than a packet (veth_skb_is_eligible_for_gro, drivers/net/veth.c). GRO is the first to come and the last
/// to go, so that it tells whether there is anything to undo.
Status give_to_thread() {
  return all_of({[] { return set_gro(true); }, [] { return set_segmentation(false); }, [] { return set_threaded("1"); }});
}

Status give_to_softirqs() {
  return all_of({[] { return set_threaded("0"); }, [] { return set_segmentation(true); }, [] { return set_gro(false); }});
}

Status bind_threads(int cpu) {
  constexpr std::int64_t bound_ns = 5 * base::ns_per_s;
  std::vector<pid_t> threads;
  // "napi/n0-8193"
  const std::string prefix = fmt::format("napi/{}-", device);
  if (!wait_for(bound_ns, [&] { return !(threads = threads_named_like(prefix)).empty(); })) {
    return Error{"find the NAPI threads of", std::string(device), "the kernel made none", ""};
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<unsigned>(cpu), &cpus);
  for (const pid_t thread : threads) {
    if (::sched_setaffinity(thread, sizeof cpus, &cpus) != 0) {
      return base::errno_error("bind", fmt::format("NAPI thread {}", thread), errno);
    }
  }
  return base::ok();
}

Result<bool> is_set() {
  bool found = false;
  Status asked = in_namespace(node_netns, [&]() -> Status {
    if (::access(threaded_file, F_OK) != 0) {
      return base::ok();
    }
    const Result<bool> gro = ask_ethtool(device, ETHTOOL_GGRO);
    found = gro && *gro;
    return gro ? base::ok() : Status(gro.error());
  });
  return asked ? Result<bool>(found) : asked.error();
}

}  // namespace

Result<NapiThread> NapiThread::on_cpu(int cpu) {
  NapiThread made;
  Status set = give_to_thread();
  if (set) {
    set = bind_threads(cpu);
  }
  return set ? Result<NapiThread>(std::move(made)) : set.error();
}

NapiThread::~NapiThread() {
  // What this cannot undo, the next lab or `down` does or reports.
  static_cast<void>(remove());
}

Status NapiThread::remove() {
  return std::exchange(owned_, false) ? give_to_softirqs() : base::ok();
}

Result<bool> remove_napi_thread() {
  Result<bool> set = namespace_exists(node_netns) && namespace_exists(client_netns) ? is_set() : Result<bool>(false);
  if (!set || !*set) {
    return set;
  }
  Status removed = give_to_softirqs();
  return removed ? set : removed.error();
}

}  // namespace stallscope::lab
