// SPDX-License-Identifier: Apache-2.0
#include "census/memcg_table.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "evidence/containers.h"

namespace stallscope::census {
namespace {

constexpr std::uint32_t bit(MemcgPin pin) {
  return 1U << static_cast<unsigned>(pin);
}

constexpr std::array<std::string_view, memcg_pin_count> pin_ids = {"file",  "shmem",       "swap",      "socket",
                                                                   "child", "dirty_inode", "anonymous", "unknown"};

MemcgPin first_of(std::uint32_t pins) {
  for (std::size_t i = 0; i < memcg_pin_count; ++i) {
    if ((pins & (1U << i)) != 0) {
      return static_cast<MemcgPin>(i);
    }
  }
  return MemcgPin::unknown;
}

bool has(const memcg_row& row, memcg_row_flags flag) {
  return (row.flags & static_cast<std::uint32_t>(flag)) != 0;
}

/// A page of a file in memory that is on its way to swap or back: it is out of the file's mapping and on a list of anonymous
/// pages, without the mark of anonymous memory (mm/shmem.c; seen on Linux 6.18). It is charged as memory until it is freed, so the
/// swap it has shows in no counter.
bool in_swap_cache(const memcg_row& row) {
  return has(row, memcg_row_has_page) && row.inode_address == 0 && !has(row, memcg_row_has_anonymous) &&
         row.lru_anonymous_pages > 0;
}

std::uint32_t pins_of(const memcg_row& row, const MemcgCharges& charges) {
  std::uint32_t pins = 0;
  const auto add = [&](bool holds, MemcgPin pin) { pins |= holds ? bit(pin) : 0U; };
  add(row.inode_address != 0, MemcgPin::file);
  add(charges.swap_bytes > 0 || in_swap_cache(row), MemcgPin::swap);
  add(row.tcp_pages > 0 || row.socket_pages > 0, MemcgPin::socket);
  add(has(row, memcg_row_has_child), MemcgPin::child);
  add(has(row, memcg_row_has_writeback), MemcgPin::dirty_inode);
  add(has(row, memcg_row_has_anonymous), MemcgPin::anonymous);
  return pins == 0 ? bit(MemcgPin::unknown) : pins;
}

MemcgCharges charges_of(const memcg_row& row, std::int64_t page_bytes) {
  constexpr std::int64_t kib = 1024;
  const auto bytes = [&](std::int64_t pages) { return std::max<std::int64_t>(pages, 0) * page_bytes; };
  MemcgCharges charges;
  charges.memory_bytes = bytes(row.memory_pages);
  // v1 counts memory and swap together, and nothing where swap is not accounted.
  charges.swap_bytes = bytes(has(row, memcg_row_v2) ? row.swap_pages : row.swap_pages - row.memory_pages);
  charges.lru_anonymous_bytes = bytes(row.lru_anonymous_pages);
  charges.lru_file_bytes = bytes(row.lru_file_pages);
  charges.lru_unevictable_bytes = bytes(row.lru_unevictable_pages);
  if (!has(row, memcg_row_has_kinds)) {
    return charges;
  }
  charges.file_bytes = bytes(row.file_pages);
  charges.anonymous_bytes = bytes(row.anonymous_pages);
  charges.shmem_bytes = bytes(row.shmem_pages);
  charges.slab_reclaimable_bytes = row.slab_reclaimable_bytes;
  charges.slab_unreclaimable_bytes = row.slab_unreclaimable_bytes;
  charges.kernel_stack_bytes = row.kernel_stack_kib * kib;
  // v1 counts TCP by itself.
  charges.socket_bytes = bytes(std::max(row.socket_pages, row.tcp_pages));
  return charges;
}

void forget_kinds(MemcgCharges& charges) {
  charges.file_bytes = -1;
  charges.anonymous_bytes = -1;
  charges.shmem_bytes = -1;
  charges.slab_reclaimable_bytes = -1;
  charges.slab_unreclaimable_bytes = -1;
  charges.kernel_stack_bytes = -1;
  charges.socket_bytes = -1;
}

/// The charge of a dying memory cgroup that is not counted in a dying parent's.
std::int64_t topmost_charge(const MemcgTable& table, const Memcg& memcg) {
  const bool topmost = memcg.parent < 0 || table.memcgs[static_cast<std::size_t>(memcg.parent)].live;
  return topmost ? memcg.charges.memory_bytes : 0;
}

template <typename NameOf>
std::vector<MemcgGroup> group_dying(const MemcgTable& table, const NameOf& name_of) {
  std::map<std::string, MemcgGroup> groups;
  for (const Memcg& memcg : table.memcgs) {
    if (memcg.live) {
      continue;
    }
    MemcgGroup& group = groups[name_of(memcg)];
    ++group.memcg_count;
    group.charged_bytes += topmost_charge(table, memcg);
  }
  std::vector<MemcgGroup> sorted;
  for (auto& [name, group] : groups) {
    group.name = name;
    sorted.push_back(std::move(group));
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const MemcgGroup& left, const MemcgGroup& right) { return left.memcg_count > right.memcg_count; });
  return sorted;
}

/// The nearest ancestor that is live: what all its dying descendants are counted for.
std::int32_t live_ancestor(const MemcgTable& table, const Memcg& memcg) {
  std::int32_t index = memcg.parent;
  while (index > 0 && !table.memcgs[static_cast<std::size_t>(index)].live) {
    index = table.memcgs[static_cast<std::size_t>(index)].parent;
  }
  return index;
}

void add_to(MemcgCharges& sum, const MemcgCharges& one) {
  const auto add = [](std::int64_t& to, std::int64_t value) { to = value < 0 ? to : std::max<std::int64_t>(to, 0) + value; };
  add(sum.swap_bytes, one.swap_bytes);
  add(sum.file_bytes, one.file_bytes);
  add(sum.anonymous_bytes, one.anonymous_bytes);
  add(sum.shmem_bytes, one.shmem_bytes);
  add(sum.slab_reclaimable_bytes, one.slab_reclaimable_bytes);
  add(sum.slab_unreclaimable_bytes, one.slab_unreclaimable_bytes);
  add(sum.kernel_stack_bytes, one.kernel_stack_bytes);
  add(sum.socket_bytes, one.socket_bytes);
  add(sum.lru_anonymous_bytes, one.lru_anonymous_bytes);
  add(sum.lru_file_bytes, one.lru_file_bytes);
  add(sum.lru_unevictable_bytes, one.lru_unevictable_bytes);
}

}  // namespace

std::string_view memcg_pin_id(MemcgPin pin) {
  return pin_ids[static_cast<std::size_t>(pin)];
}

std::string MemcgTable::path_of(std::int32_t index) const {
  if (index <= 0) {
    return "/";
  }
  std::vector<std::int32_t> chain;
  for (std::int32_t at = index; at > 0; at = memcgs[static_cast<std::size_t>(at)].parent) {
    chain.push_back(at);
  }
  std::reverse(chain.begin(), chain.end());
  std::string path;
  for (const std::int32_t at : chain) {
    path += '/';
    path += memcgs[static_cast<std::size_t>(at)].name;
  }
  return path;
}

void MemcgTableBuilder::clear() {
  table_ = {};
  ancestors_.clear();
  files_.clear();
  largest_lru_pages_ = -1;
  kinds_ = false;
}

void MemcgTableBuilder::add(std::span<const memcg_row> rows) {
  for (const memcg_row& row : rows) {
    add(row);
  }
}

void MemcgTableBuilder::add(const memcg_row& row) {
  Memcg memcg;
  memcg.id = row.id;
  memcg.serial = row.serial;
  memcg.name.assign(&row.name[0], std::min<std::size_t>(row.name_length, sizeof(row.name)));
  memcg.live = has(row, memcg_row_online);
  memcg.references = row.references;
  memcg.memcg_id = row.memcg_id;
  memcg.dying_below = row.dying_below;
  memcg.charges = charges_of(row, page_bytes_);
  while (!ancestors_.empty() && ancestors_.back().css != row.parent_css) {
    ancestors_.pop_back();
  }
  memcg.parent = ancestors_.empty() ? -1 : ancestors_.back().index;
  ancestors_.push_back({row.css, static_cast<std::int32_t>(table_.memcgs.size())});
  table_.ids_in_use += row.memcg_id != 0 ? 1 : 0;
  if (!memcg.live) {
    memcg.pins = pins_of(row, memcg.charges);
    memcg.pin = first_of(memcg.pins);
    if (row.inode_address != 0) {
      add_file(row, memcg);
    }
  }
  const std::int64_t lru_pages = row.lru_anonymous_pages + row.lru_file_pages + row.lru_unevictable_pages;
  if (has(row, memcg_row_has_kinds) && lru_pages > largest_lru_pages_) {
    kinds_ = true;
    largest_lru_pages_ = lru_pages;
    its_kind_pages_ = row.file_pages + row.anonymous_pages;
  }
  table_.memcgs.push_back(std::move(memcg));
}

void MemcgTableBuilder::add_file(const memcg_row& row, Memcg& memcg) {
  const auto [known, is_new] = files_.try_emplace({row.inode, row.device}, static_cast<std::int32_t>(table_.files.size()));
  if (is_new) {
    PinningFile file;
    file.inode_address = row.inode_address;
    file.inode = row.inode;
    file.device = row.device;
    table_.files.push_back(std::move(file));
  }
  memcg.file = known->second;
  PinningFile& file = table_.files[static_cast<std::size_t>(known->second)];
  ++file.memcg_count;
  file.charged_bytes += memcg.charges.memory_bytes;
}

void MemcgTableBuilder::check_kinds() {
  // What is not flushed yet, and pages in the CPUs' batches, make the two differ by some hundred pages.
  constexpr std::int64_t tolerated_pages = 1024;
  constexpr std::int64_t tolerated_divisor = 4;
  table_.kinds_known =
      kinds_ && std::abs(its_kind_pages_ - largest_lru_pages_) <= tolerated_pages + largest_lru_pages_ / tolerated_divisor;
  if (!table_.kinds_known) {
    for (Memcg& memcg : table_.memcgs) {
      forget_kinds(memcg.charges);
    }
  }
}

MemcgTable MemcgTableBuilder::finish() {
  check_kinds();
  files_.clear();
  ancestors_.clear();
  return std::move(table_);
}

void settle_pins(MemcgTable& table) {
  for (Memcg& memcg : table.memcgs) {
    if (memcg.file >= 0 && table.files[static_cast<std::size_t>(memcg.file)].filesystem == "tmpfs") {
      memcg.pins = (memcg.pins & ~bit(MemcgPin::file)) | bit(MemcgPin::shmem);
      memcg.pin = first_of(memcg.pins);
    }
  }
}

void bound_ages(MemcgTable& table, std::span<const DirectoryAge> directories) {
  std::unordered_map<std::uint64_t, std::int64_t> ages;
  for (const DirectoryAge& directory : directories) {
    ages.emplace(directory.id, directory.age_ns);
  }
  std::vector<std::size_t> order(table.memcgs.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t left, std::size_t right) { return table.memcgs[left].serial > table.memcgs[right].serial; });
  std::int64_t age_ns = -1;
  for (const std::size_t index : order) {
    Memcg& memcg = table.memcgs[index];
    if (memcg.live) {
      const auto known = ages.find(memcg.id);
      age_ns = known == ages.end() ? age_ns : std::max(age_ns, known->second);
    }
    memcg.age_at_least_ns = age_ns;
  }
}

std::vector<MemcgGroup> dying_by_pin(const MemcgTable& table) {
  return group_dying(table, [](const Memcg& memcg) { return std::string(memcg_pin_id(memcg.pin)); });
}

std::vector<MemcgGroup> dying_by_parent(const MemcgTable& table) {
  std::unordered_map<std::int32_t, std::string> paths;
  return group_dying(table, [&](const Memcg& memcg) {
    const std::int32_t parent = live_ancestor(table, memcg);
    const auto [known, is_new] = paths.try_emplace(parent);
    if (is_new) {
      known->second = table.path_of(parent);
    }
    return known->second;
  });
}

std::vector<MemcgGroup> dying_by_owner(const MemcgTable& table) {
  return group_dying(table, [&](const Memcg& memcg) {
    const auto index = static_cast<std::int32_t>(&memcg - table.memcgs.data());
    evidence::CgroupOwner owner = evidence::cgroup_owner(table.path_of(index));
    // A pod's containers come and go; what they have in common is the pod.
    if (!owner.pod_uid.empty()) {
      owner.container_id.clear();
    }
    std::string name = evidence::describe_owner(owner);
    return name.empty() ? std::string("no unit or pod") : name;
  });
}

MemcgCharges total_charges(const MemcgTable& table, bool live) {
  MemcgCharges sum;
  sum.memory_bytes = live ? -1 : 0;
  for (const Memcg& memcg : table.memcgs) {
    if (memcg.live == live) {
      sum.memory_bytes += live ? 0 : topmost_charge(table, memcg);
      add_to(sum, memcg.charges);
    }
  }
  return sum;
}

}  // namespace stallscope::census
