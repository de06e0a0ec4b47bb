// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "cli/census_text.h"

namespace stallscope::cli {
namespace {

using census::CensusResult;
using census::MemcgCharges;
using Json = nlohmann::json;

Json known(std::optional<std::int64_t> count) {
  return count ? Json(*count) : Json(nullptr);
}
/// -1 is what is not known.
Json known(std::int64_t count) {
  return count < 0 ? Json(nullptr) : Json(count);
}

std::string device_text(std::uint32_t device) {
  return fmt::format("{}:{}", device >> 20U, device & 0xfffffU);
}

Json json_of(const CensusResult& result, const evidence::MemcgCensusRecord& memcgs) {
  return {{"taken_ns", memcgs.taken_ns},
          {"cgroup_version", memcgs.cgroup_version},
          {"kernel_total", known(memcgs.kernel_total)},
          {"kernel_dying", known(memcgs.kernel_dying)},
          {"visible", known(memcgs.visible)},
          {"walked_live", known(memcgs.walked_live)},
          {"walked_dying", known(memcgs.walked_dying)},
          {"dying_charged_bytes", known(result.dying_charged_bytes)},
          {"ids_in_use", result.table.memcgs.empty() ? Json(nullptr) : Json(result.table.ids_in_use)},
          {"ids_limit", census::memcg_id_limit},
          {"walk_approximate", memcgs.walk_approximate},
          {"walk_ns", memcgs.walk_ns},
          {"walk_longest_section_ns", memcgs.walk_longest_section_ns}};
}

Json json_of(const MemcgCharges& charges) {
  return {{"memory_bytes", known(charges.memory_bytes)},
          {"swap_bytes", known(charges.swap_bytes)},
          {"file_bytes", known(charges.file_bytes)},
          {"anonymous_bytes", known(charges.anonymous_bytes)},
          {"shmem_bytes", known(charges.shmem_bytes)},
          {"slab_reclaimable_bytes", known(charges.slab_reclaimable_bytes)},
          {"slab_unreclaimable_bytes", known(charges.slab_unreclaimable_bytes)},
          {"kernel_stack_bytes", known(charges.kernel_stack_bytes)},
          {"socket_bytes", known(charges.socket_bytes)},
          {"lru_anonymous_bytes", charges.lru_anonymous_bytes},
          {"lru_file_bytes", charges.lru_file_bytes},
          {"lru_unevictable_bytes", charges.lru_unevictable_bytes}};
}

Json json_of(const std::vector<census::MemcgGroup>& groups) {
  Json list = Json::array();
  for (const census::MemcgGroup& group : groups) {
    list.push_back({{"name", group.name}, {"memcg_count", group.memcg_count}, {"charged_bytes", group.charged_bytes}});
  }
  return list;
}

Json json_of(const census::PinningFile& file) {
  return {{"path", file.path},
          {"filesystem", file.filesystem},
          {"device", device_text(file.device)},
          {"inode", file.inode},
          {"memcg_count", file.memcg_count},
          {"charged_bytes", file.charged_bytes},
          {"cached_bytes", known(file.cached_bytes)}};
}

Json pins_of(const census::Memcg& memcg) {
  Json pins = Json::array();
  for (std::size_t i = 0; i < census::memcg_pin_count; ++i) {
    if ((memcg.pins & (1U << i)) != 0) {
      pins.push_back(census::memcg_pin_id(static_cast<census::MemcgPin>(i)));
    }
  }
  return pins;
}

Json json_of(const census::MemcgTable& table, std::int32_t index) {
  const census::Memcg& memcg = table.memcgs[static_cast<std::size_t>(index)];
  return {{"path", table.path_of(index)},
          {"name", memcg.name},
          {"parent", memcg.parent < 0 ? Json(nullptr) : Json(table.path_of(memcg.parent))},
          {"id", memcg.id},
          {"live", memcg.live},
          {"references", known(memcg.references)},
          {"memcg_id", memcg.memcg_id == 0 ? Json(nullptr) : Json(memcg.memcg_id)},
          {"dying_below", memcg.dying_below},
          {"age_at_least_ns", known(memcg.age_at_least_ns)},
          {"pins", pins_of(memcg)},
          {"pinning_file", memcg.file < 0 ? Json(nullptr) : Json(memcg.file)},
          {"charges", json_of(memcg.charges)}};
}

void add_lists(const CensusResult& result, Json& root) {
  for (const census::PinningFile& file : result.table.files) {
    root["pinning_files"].push_back(json_of(file));
  }
  for (const census::PinningFile& file : result.cached_files) {
    root["cached_files"].push_back({{"path", file.path},
                                    {"filesystem", file.filesystem},
                                    {"device", device_text(file.device)},
                                    {"inode", file.inode},
                                    {"cached_bytes", known(file.cached_bytes)},
                                    {"memcg_count", file.memcg_count}});
  }
  for (const evidence::StatReadRecord& read : result.stat_reads) {
    root["stat_reads"].push_back(
        {{"path", read.path}, {"read_count", read.read_count}, {"median_ns", read.median_ns}, {"worst_ns", read.worst_ns}});
  }
  for (const census::StatReadPoint& point : result.cost_curve) {
    root["cost_curve"].push_back(
        {{"path", point.path}, {"live_below", point.live_below}, {"dying_below", point.dying_below}, {"worst_ns", point.worst_ns}});
  }
  for (const evidence::MemoryRecord& memory : result.memory) {
    root["memory"].push_back({{"name", memory.name}, {"bytes", memory.bytes}});
  }
  for (const evidence::SlabRecord& slab : result.slabs) {
    root["slabs"].push_back({{"cache", slab.cache},
                             {"active_objects", slab.active_objects},
                             {"total_objects", slab.total_objects},
                             {"object_bytes", slab.object_bytes},
                             {"total_bytes", slab.total_bytes}});
  }
  for (const evidence::GapRecord& gap : result.gaps) {
    root["gaps"].push_back({{"what", gap.what}, {"reason", gap.reason}, {"consequence", gap.consequence}});
  }
}

Json caches_json(const std::optional<census::CacheState>& caches) {
  if (!caches) {
    return nullptr;
  }
  return {{"dentries", caches->dentry_count},
          {"unused_dentries", caches->unused_dentry_count},
          {"negative_dentries", known(caches->negative_dentry_count)},
          {"inodes", caches->inode_count},
          {"free_inodes", caches->free_inode_count}};
}

/// A field of RFC 4180: quoted where it must be.
std::string csv_text(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
    return std::string(text);
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + "\"";
}

std::string csv_number(std::int64_t number) {
  return number < 0 ? std::string() : fmt::format("{}", number);
}

}  // namespace

std::string census_json(const CensusResult& result, bool each, bool one_line) {
  Json root = {{"memory_cgroups", json_of(result, result.memcgs)},
               {"pinning_files", Json::array()},
               {"cached_files", Json::array()},
               {"dying_by_pin", json_of(census::dying_by_pin(result.table))},
               {"dying_by_parent", json_of(census::dying_by_parent(result.table))},
               {"dying_by_owner", json_of(census::dying_by_owner(result.table))},
               {"charges",
                {{"live", json_of(census::total_charges(result.table, true))},
                 {"dying", json_of(census::total_charges(result.table, false))}}},
               {"stat_reads", Json::array()},
               {"cost_curve", Json::array()},
               {"memory", Json::array()},
               {"slabs", Json::array()},
               {"caches", caches_json(result.caches)},
               {"gaps", Json::array()}};
  add_lists(result, root);
  if (each) {
    root["memcgs"] = Json::array();
    for (std::size_t i = 0; i < result.table.memcgs.size(); ++i) {
      root["memcgs"].push_back(json_of(result.table, static_cast<std::int32_t>(i)));
    }
  }
  // A name of the kernel may hold bytes that are not UTF-8; JSON cannot.
  return root.dump(one_line ? -1 : 2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string census_csv(const CensusResult& result) {
  std::string text =
      "path,parent,live,id,memcg_id,references,age_at_least_ns,pin,pinning_file,filesystem,device,inode,memory_bytes,swap_bytes,"
      "file_bytes,"
      "anonymous_bytes,shmem_bytes,slab_reclaimable_bytes,slab_unreclaimable_bytes,kernel_stack_bytes,socket_bytes\r\n";
  for (std::size_t i = 0; i < result.table.memcgs.size(); ++i) {
    const census::Memcg& memcg = result.table.memcgs[i];
    const census::PinningFile* const file = memcg.file < 0 ? nullptr : &result.table.files[static_cast<std::size_t>(memcg.file)];
    const MemcgCharges& charges = memcg.charges;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},", csv_text(result.table.path_of(static_cast<std::int32_t>(i))),
                        memcg.parent < 0 ? "" : csv_text(result.table.path_of(memcg.parent)), memcg.live ? 1 : 0, memcg.id,
                        memcg.memcg_id == 0 ? "" : fmt::format("{}", memcg.memcg_id), csv_number(memcg.references),
                        csv_number(memcg.age_at_least_ns), memcg.live ? "" : census::memcg_pin_id(memcg.pin),
                        file == nullptr ? "" : csv_text(file->path), file == nullptr ? "" : csv_text(file->filesystem),
                        file == nullptr ? "" : device_text(file->device), file == nullptr ? "" : fmt::format("{}", file->inode));
    text += fmt::format("{},{},{},{},{},{},{},{},{}\r\n", csv_number(charges.memory_bytes), csv_number(charges.swap_bytes),
                        csv_number(charges.file_bytes), csv_number(charges.anonymous_bytes), csv_number(charges.shmem_bytes),
                        csv_number(charges.slab_reclaimable_bytes), csv_number(charges.slab_unreclaimable_bytes),
                        csv_number(charges.kernel_stack_bytes), csv_number(charges.socket_bytes));
  }
  return text;
}

}  // namespace stallscope::cli
