// SPDX-License-Identifier: Apache-2.0
#include "lab/topology.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <functional>
#include <utility>

#include "base/files.h"
#include "base/text.h"
#include "host/private_mounts.h"
#include "host/program.h"
#include "lab/run_words.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

constexpr std::array<std::string_view, 3> namespaces = {client_netns, node_netns, pod_netns};
constexpr std::string_view kept_mark = "stallscope lab up";

std::string netns_path(std::string_view name) {
  return fmt::format("/run/netns/{}", name);
}

Status ip(std::string_view arguments) {
  return run_words(fmt::format("ip {}", arguments));
}

Status make_links() {
  constexpr std::string_view queues = "numtxqueues 2 numrxqueues 2";
  const std::array<std::string, 15> commands = {
      fmt::format("-n {} link add c0 {} type veth peer name n0 netns {} {}", client_netns, queues, node_netns, queues),
      fmt::format("-n {} link add n1 {} type veth peer name p0 netns {} {}", node_netns, queues, pod_netns, queues),
      fmt::format("-n {} address add 10.0.1.1/24 dev c0", client_netns),
      fmt::format("-n {} address add {}/24 dev n0", node_netns, node_address),
      fmt::format("-n {} address add 10.0.2.1/24 dev n1", node_netns),
      fmt::format("-n {} address add 10.0.2.2/24 dev p0", pod_netns),
      fmt::format("-n {} link set lo up", client_netns),
      fmt::format("-n {} link set lo up", node_netns),
      fmt::format("-n {} link set lo up", pod_netns),
      fmt::format("-n {} link set c0 up", client_netns),
      fmt::format("-n {} link set n0 up", node_netns),
      fmt::format("-n {} link set n1 up", node_netns),
      fmt::format("-n {} link set p0 up", pod_netns),
      fmt::format("-n {} route add default via {}", client_netns, node_address),
      fmt::format("-n {} route add default via 10.0.2.1", pod_netns),
  };
  for (const std::string& command : commands) {
    if (Status made = ip(command); !made) {
      return made;
    }
  }
  return in_namespace(node_netns, [] { return base::write_file("/proc/sys/net/ipv4/ip_forward", "1"); });
}

/// The CPUs of a list such as "0-3,7", as the files of /sys/devices/system/cpu have it.
bool list_has_cpu(std::string_view list, int cpu) {
  for (std::string_view range : base::split(list, ',')) {
    int first = 0;
    const char* end = range.data() + range.size();
    const auto start = std::from_chars(range.data(), end, first);
    int last = first;
    if (start.ec == std::errc{} && start.ptr != end && *start.ptr == '-') {
      std::from_chars(start.ptr + 1, end, last);
    }
    if (start.ec == std::errc{} && cpu >= first && cpu <= last) {
      return true;
    }
  }
  return false;
}

}  // namespace

Status enter_namespace(std::string_view name) {
  const Result<base::OwnedFd> file = base::open_file(netns_path(name), O_RDONLY);
  if (!file) {
    return file.error();
  }
  return ::setns(file->get(), CLONE_NEWNET) == 0 ? base::ok() : Status(base::errno_error("enter", netns_path(name), errno));
}

Status in_namespace(std::string_view name, const std::function<Status()>& action) {
  return host::in_private_mounts([&]() -> Status {
    if (Status entered = enter_namespace(name); !entered) {
      return entered;
    }
    if (::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) {
      return base::errno_error("mount", "/sys", errno);
    }
    return action();
  });
}

bool namespace_exists(std::string_view name) {
  return ::access(netns_path(name).c_str(), F_OK) == 0;
}

Result<Topology> Topology::make(int receive_cpu) {
  Topology topology;
  for (const std::string_view name : namespaces) {
    if (Status made = ip(fmt::format("netns add {}", name)); !made) {
      return made.error();
    }
  }
  if (Status made = make_links(); !made) {
    return made.error();
  }
  if (Status set = set_receive_cpu(receive_cpu); !set) {
    return set.error();
  }
  return topology;
}

Topology::Topology(Topology&& other) noexcept : owned_(std::exchange(other.owned_, false)) {}

Topology::~Topology() {
  // What this cannot remove, the next lab or `down` finds under the same names and removes or reports.
  static_cast<void>(remove());
}

Status Topology::keep() {
  // Not through ip(): the mark holds spaces.
  const Result<std::string> marked =
      host::run_program({"ip", "-n", std::string(client_netns), "link", "set", "dev", "c0", "alias", std::string(kept_mark)});
  if (!marked) {
    return marked.error();
  }
  owned_ = false;
  return base::ok();
}

Status Topology::remove() {
  if (!std::exchange(owned_, false)) {
    return base::ok();
  }
  const Result<bool> removed = remove_topology();
  return removed ? base::ok() : Status(removed.error());
}

bool topology_is_kept() {
  for (const std::string_view name : namespaces) {
    if (!namespace_exists(name)) {
      return false;
    }
  }
  std::string alias;
  const Status read = in_namespace(client_netns, [&] {
    const Result<std::string> text = base::read_file("/sys/class/net/c0/ifalias");
    alias = text ? *text : "";
    return base::ok();
  });
  return read && alias == std::string(kept_mark) + "\n";
}

Result<bool> remove_topology() {
  bool found = false;
  for (const std::string_view name : namespaces) {
    if (!namespace_exists(name)) {
      continue;
    }
    found = true;
    if (Status removed = ip(fmt::format("netns delete {}", name)); !removed) {
      return removed.error();
    }
  }
  return found;
}

Status set_receive_cpu(int cpu) {
  return in_namespace(node_netns, [cpu]() -> Status {
    const std::string queues = "/sys/class/net/n0/queues";
    std::error_code error;
    for (const std::filesystem::directory_entry& queue : std::filesystem::directory_iterator(queues, error)) {
      if (!queue.path().filename().string().starts_with("rx-")) {
        continue;
      }
      if (Status set = base::write_file(queue.path().string() + "/rps_cpus", cpu_mask(cpu)); !set) {
        return set;
      }
    }
    return error ? Status(base::errno_error("list", queues, error.value())) : base::ok();
  });
}

std::string cpu_mask(int cpu) {
  constexpr int bits_per_word = 32;
  std::string mask = fmt::format("{:x}", 1U << static_cast<unsigned>(cpu % bits_per_word));
  for (int word = 0; word < cpu / bits_per_word; ++word) {
    mask += ",00000000";
  }
  return mask;
}

Status check_cpu_online(std::string_view option, int cpu) {
  Result<std::string> online = base::read_file("/sys/devices/system/cpu/online");
  if (!online) {
    return online.error();
  }
  while (!online->empty() && online->back() == '\n') {
    online->pop_back();
  }
  if (!list_has_cpu(*online, cpu)) {
    return Error{"use", fmt::format("{} {}", option, cpu), "no such CPU is online", "CPUs online: " + *online};
  }
  return base::ok();
}

}  // namespace stallscope::lab
