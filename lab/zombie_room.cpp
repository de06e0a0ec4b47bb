// SPDX-License-Identifier: Apache-2.0
#include "lab/zombie_room.h"

#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/files.h"
#include "base/numbers.h"
#include "base/text.h"
#include "base/units.h"

namespace stallscope::lab {
namespace {

using base::Error;
using base::Result;
using base::Status;

/// MEM_CGROUP_ID_MAX (mm/memcontrol.c), and what is left to the rest of the machine.
constexpr std::int64_t id_count = 65'535;
constexpr std::int64_t spare_id_count = 1'000;
constexpr std::int64_t spare_bytes = std::int64_t{512} << 20U;
/// A live memory cgroup, its directory and files: measured, see docs/benchmarks.md. The second is for each possible CPU.
constexpr std::int64_t zombie_bytes = std::int64_t{24} << 10U;
constexpr std::int64_t zombie_cpu_bytes = std::int64_t{4} << 10U;

std::int64_t meminfo_bytes(std::string_view meminfo, std::string_view name) {
  constexpr std::int64_t bytes_per_kib = 1024;
  for (const std::string_view line : base::split(meminfo, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.size() >= 2 && fields[0] == name) {
      return base::parse_number<std::int64_t>(fields[1]).value_or(0) * bytes_per_kib;
    }
  }
  return 0;
}

std::string directory_of(const std::string& path) {
  return path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
}

Error too_many(int zombies_count, std::string reason, std::int64_t possible_count) {
  return Error{"make", fmt::format("{} zombies", base::format_count(zombies_count)), std::move(reason),
               possible_count > 0 ? fmt::format("There is room for --count {}.", possible_count) : ""};
}

}  // namespace

Result<ZombieRoom> read_zombie_room(const ZombiePlaces& places) {
  const Result<std::int64_t> count = count_memory_cgroups(places.hierarchy);
  const Result<std::string> meminfo = base::read_file("/proc/meminfo");
  if (!count || !meminfo) {
    return count ? meminfo.error() : count.error();
  }
  struct statvfs filesystem {};
  if (::statvfs(directory_of(places.pins.path).c_str(), &filesystem) != 0) {
    return base::errno_error("look at the file system of", places.pins.path, errno);
  }
  return ZombieRoom{.memcg_count = *count,
                    .available_bytes = meminfo_bytes(*meminfo, "MemAvailable:"),
                    .cpu_count = ::sysconf(_SC_NPROCESSORS_CONF),
                    .place_bytes = static_cast<std::int64_t>(filesystem.f_bavail * filesystem.f_frsize),
                    .swap_bytes = meminfo_bytes(*meminfo, "SwapTotal:"),
                    .free_swap_bytes = meminfo_bytes(*meminfo, "SwapFree:")};
}

Status check_zombie_room(int zombies_count, PinKind kind, const ZombieRoom& room) {
  const std::int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  if (const std::int64_t possible = id_count - spare_id_count - room.memcg_count; zombies_count > possible) {
    return too_many(
        zombies_count,
        fmt::format("the kernel has {} memory cgroup IDs, of which {} may be in use and {} are for the machine",
                    base::format_count(id_count), base::format_count(room.memcg_count), base::format_count(spare_id_count)),
        possible);
  }
  const bool has_page = kind != PinKind::dentries;
  const std::int64_t each_bytes = zombie_bytes + zombie_cpu_bytes * room.cpu_count + (has_page ? page_bytes : 0);
  if (const std::int64_t possible = (room.available_bytes - spare_bytes) / each_bytes; zombies_count > possible) {
    return too_many(zombies_count,
                    fmt::format("{} of memory are available, and each may take {}", base::format_bytes(room.available_bytes),
                                base::format_bytes(each_bytes)),
                    possible);
  }
  if (const std::int64_t possible = room.place_bytes / page_bytes; has_page && zombies_count > possible) {
    return too_many(zombies_count,
                    fmt::format("the file system of the file that pins has {} free", base::format_bytes(room.place_bytes)),
                    possible);
  }
  if (kind == PinKind::swap && room.swap_bytes == 0) {
    return Error{"pin zombies by swap", "", "this machine has no swap",
                 "Add some (mkswap, swapon), or pin them by a file in memory: --pin tmpfs"};
  }
  if (const std::int64_t possible = room.free_swap_bytes / page_bytes; kind == PinKind::swap && zombies_count > possible) {
    return too_many(zombies_count, fmt::format("{} of swap are free", base::format_bytes(room.free_swap_bytes)), possible);
  }
  return base::ok();
}

}  // namespace stallscope::lab
