// SPDX-License-Identifier: Apache-2.0
#include "probe/local_address.h"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "probe/netns.h"

namespace stallscope::probe {
namespace {

in_addr_t ipv4_of(const sockaddr* address) {
  return reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr;
}

/// The whole prefix of a loopback interface is local, not only the address configured.
bool has_address(const ifaddrs& entry, in_addr address) {
  if (entry.ifa_addr == nullptr || entry.ifa_addr->sa_family != AF_INET) {
    return false;
  }
  const bool loopback = (entry.ifa_flags & IFF_LOOPBACK) != 0U && entry.ifa_netmask != nullptr;
  const in_addr_t mask = loopback ? ipv4_of(entry.ifa_netmask) : INADDR_NONE;
  return (ipv4_of(entry.ifa_addr) & mask) == (address.s_addr & mask);
}

/// Interfaces of the calling thread's namespace that have the address.
base::Result<std::vector<std::string>> interfaces_with(in_addr address) {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) {
    return base::errno_error("list", "interface addresses", errno);
  }
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(first, freeifaddrs);
  std::vector<std::string> interfaces;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (has_address(*entry, address)) {
      interfaces.emplace_back(entry->ifa_name);
    }
  }
  return interfaces;
}

struct Candidate {
  std::string name;
  std::string path;
};

std::vector<std::string> entries_of(const char* directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error); !error && entry != std::filesystem::directory_iterator();
       entry.increment(error)) {
    names.push_back(entry->path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

class Search {
 public:
  explicit Search(in_addr address) : address_(address) {}

  base::Status visit_own(const NetworkNamespace& own) {
    base::Result<std::vector<std::string>> interfaces = interfaces_with(address_);
    if (!interfaces) {
      return interfaces.error();
    }
    struct stat status {};
    if (::stat(own.name().c_str(), &status) != 0) {
      return base::errno_error("look at", own.name(), errno);
    }
    nsfs_device_ = status.st_dev;
    own_inode_ = own.inode();
    seen_.insert(own_inode_);
    record(own.inode(), Candidate{"", own.name()}, *interfaces);
    return base::ok();
  }

  void visit(const Candidate& candidate) {
    struct stat status {};
    if (::stat(candidate.path.c_str(), &status) != 0) {
      note_failure(candidate, errno);
      return;
    }
    // A name whose namespace was unmounted is left as an empty file.
    if (status.st_dev != nsfs_device_) {
      return;
    }
    // Thousands of processes share a few namespaces: each is entered once.
    if (!seen_.insert(status.st_ino).second) {
      name_match(status.st_ino, candidate);
      return;
    }
    const base::Result<NetworkNamespace> netns = NetworkNamespace::open(candidate.path);
    if (!netns) {
      not_searched_.push_back(candidate.path + ": " + netns.error().reason);
      return;
    }
    base::Result<std::vector<std::string>> interfaces = std::vector<std::string>{};
    const base::Status entered = run_in_netns(*netns, [&] { interfaces = interfaces_with(address_); });
    if (!entered || !interfaces) {
      not_searched_.push_back(candidate.path + ": " + (entered ? interfaces.error() : entered.error()).reason);
      return;
    }
    record(netns->inode(), candidate, *interfaces);
  }

  LocalAddressSearch result() && {
    if (hidden_processes_ > 0) {
      not_searched_.push_back(
          fmt::format("network namespaces of {} process{}: not permitted", hidden_processes_, hidden_processes_ == 1 ? "" : "es"));
    }
    return {.matches = std::move(matches_), .namespaces_searched = searched_, .not_searched = std::move(not_searched_)};
  }

 private:
  void record(std::uint64_t inode, const Candidate& candidate, const std::vector<std::string>& interfaces) {
    ++searched_;
    for (const std::string& interface : interfaces) {
      matches_.push_back({.netns_inode = inode,
                          .netns_name = candidate.name,
                          .netns_path = candidate.path,
                          .own_netns = inode == own_inode_,
                          .interface = interface});
    }
  }

  void name_match(std::uint64_t inode, const Candidate& candidate) {
    for (LocalAddress& match : matches_) {
      if (match.netns_inode == inode && match.netns_name.empty()) {
        match.netns_name = candidate.name;
      }
    }
  }

  void note_failure(const Candidate& candidate, int errno_value) {
    const bool of_process = candidate.name.empty();
    if (of_process && (errno_value == EACCES || errno_value == EPERM)) {
      ++hidden_processes_;
    } else if (errno_value != ENOENT && errno_value != ESRCH) {  // a process or name that went away meanwhile
      not_searched_.push_back(candidate.path + ": " + std::strerror(errno_value));
    }
  }

  in_addr address_;
  dev_t nsfs_device_ = 0;
  std::uint64_t own_inode_ = 0;
  std::uint64_t searched_ = 0;
  std::uint64_t hidden_processes_ = 0;
  std::set<std::uint64_t> seen_;
  std::vector<LocalAddress> matches_;
  std::vector<std::string> not_searched_;
};

}  // namespace

base::Result<LocalAddressSearch> find_local_address(in_addr address) {
  const base::Result<NetworkNamespace> own = NetworkNamespace::own();
  if (!own) {
    return own.error();
  }
  Search search(address);
  if (const base::Status status = search.visit_own(*own); !status) {
    return status.error();
  }
  const bool loopback = (ntohl(address.s_addr) >> IN_CLASSA_NSHIFT) == IN_LOOPBACKNET;
  if (!loopback) {
    for (const std::string& name : entries_of(NetworkNamespace::named_directory)) {
      search.visit({name, std::string(NetworkNamespace::named_directory) + "/" + name});
    }
    for (const std::string& pid : entries_of("/proc")) {
      if (is_number(pid)) {
        search.visit({"", "/proc/" + pid + "/ns/net"});
      }
    }
  }
  return std::move(search).result();
}

}  // namespace stallscope::probe
