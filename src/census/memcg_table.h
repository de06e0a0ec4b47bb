// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "census/memcg_tree_record.h"

// Every memory cgroup by itself, as the walk found it, and questions about all of them together. Pure.
namespace stallscope::census {

/// What a memory cgroup is charged. Bytes; -1: not known.
struct MemcgCharges {
  /// By the page counters, descendants included.
  std::int64_t memory_bytes = 0;
  std::int64_t swap_bytes = 0;
  /// By rstat, as of its last flush (every 2 s at most while there is anything to flush), without descendants. `file` includes
  /// shmem.
  std::int64_t file_bytes = -1;
  std::int64_t anonymous_bytes = -1;
  std::int64_t shmem_bytes = -1;
  std::int64_t slab_reclaimable_bytes = -1;
  std::int64_t slab_unreclaimable_bytes = -1;
  std::int64_t kernel_stack_bytes = -1;
  std::int64_t socket_bytes = -1;
  /// On its LRU lists, without descendants: exact at any time. Pages of tmpfs are on the list of anonymous ones.
  std::int64_t lru_anonymous_bytes = 0;
  std::int64_t lru_file_bytes = 0;
  std::int64_t lru_unevictable_bytes = 0;
};

/// What keeps a dying memory cgroup, in the order in which it is looked for: the first that holds is its main pin.
enum class MemcgPin : std::uint8_t {
  /// A page of a file; of a file in memory (tmpfs, memfd).
  file,
  shmem,
  swap,
  socket,
  child,
  dirty_inode,
  anonymous,
  /// References that none of these explains: pages that are not on a list yet (a CPU's batch), charges in stock, or of another
  /// kind.
  unknown,
};
inline constexpr std::size_t memcg_pin_count = 8;
/// "file", "shmem", ... as JSON and CSV name it.
[[nodiscard]] std::string_view memcg_pin_id(MemcgPin pin);

struct Memcg {
  /// The inode number its directory has or had.
  std::uint64_t id = 0;
  /// Counts up in the order in which cgroups were made.
  std::uint64_t serial = 0;
  /// Index into MemcgTable::memcgs; -1 of the root.
  std::int32_t parent = -1;
  /// Index into MemcgTable::files; -1: no page of a file was first on a list.
  std::int32_t file = -1;
  std::string name;
  bool live = false;
  MemcgPin pin = MemcgPin::unknown;
  /// Each bit 1 << MemcgPin.
  std::uint32_t pins = 0;
  /// Of the css; -1: not known (of a live one they are counted per CPU).
  std::int64_t references = -1;
  /// One of 65,535; 0: it has been given back.
  std::uint32_t memcg_id = 0;
  std::int64_t dying_below = 0;
  /// It was made at least so long ago, by the age of the directories of those made after it; -1: not known.
  std::int64_t age_at_least_ns = -1;
  MemcgCharges charges;
};

struct PinningFile {
  std::uint64_t inode_address = 0;
  std::uint64_t inode = 0;
  std::uint32_t device = 0;
  std::int64_t memcg_count = 0;
  /// What all of those are charged, children included.
  std::int64_t charged_bytes = 0;
  /// Of its page cache, by whomever it is charged; -1: not known.
  std::int64_t cached_bytes = -1;
  std::string filesystem;
  /// Empty: not known.
  std::string path;
};

struct MemcgTable {
  /// Parents before their children, siblings as they were made.
  std::vector<Memcg> memcgs;
  std::vector<PinningFile> files;
  /// Whether what rstat says by kind was found to agree with the LRU lists; else those charges are -1.
  bool kinds_known = false;
  /// Memory cgroups that hold an ID, live and dying.
  std::int64_t ids_in_use = 0;

  /// "/kubepods/pod1/gone": inside the hierarchy, "/" of the root.
  [[nodiscard]] std::string path_of(std::int32_t index) const;
};

/// Builds a table from the rows of a walk, a section at a time.
class MemcgTableBuilder {
 public:
  explicit MemcgTableBuilder(std::int64_t page_bytes) : page_bytes_(page_bytes) {}
  void reserve(std::size_t count) { table_.memcgs.reserve(count); }
  void clear();
  void add(std::span<const memcg_row> rows);
  [[nodiscard]] const MemcgTable& table() const { return table_; }
  /// Once: checks what is said by kind and counts what files pin.
  [[nodiscard]] MemcgTable finish();

 private:
  struct FileKey {
    std::uint64_t inode;
    std::uint32_t device;
    friend bool operator==(const FileKey&, const FileKey&) = default;
  };
  struct Hash {
    std::size_t operator()(const FileKey& key) const { return std::hash<std::uint64_t>()(key.inode * 31 + key.device); }
  };
  void add(const memcg_row& row);
  void add_file(const memcg_row& row, Memcg& memcg);
  void check_kinds();

  std::int64_t page_bytes_;
  MemcgTable table_;
  /// From the root to the memory cgroup added last: what a parent can be, in pre-order.
  struct Ancestor {
    std::uint64_t css;
    std::int32_t index;
  };
  std::vector<Ancestor> ancestors_;
  std::unordered_map<FileKey, std::int32_t, Hash> files_;
  std::int64_t largest_lru_pages_ = -1;
  std::int64_t its_kind_pages_ = 0;
  bool kinds_ = false;
};

/// Says which file's kind each pin is, once the files' file systems are known: tmpfs is memory.
void settle_pins(MemcgTable& table);

/// A directory of the hierarchy and when it changed last: it was made then or before.
struct DirectoryAge {
  std::uint64_t id = 0;
  std::int64_t age_ns = 0;
};
/// Gives every memory cgroup the age of the oldest directory that was made after it.
void bound_ages(MemcgTable& table, std::span<const DirectoryAge> directories);

/// Dying memory cgroups that have something in common.
struct MemcgGroup {
  std::string name;
  std::int64_t memcg_count = 0;
  /// Of the topmost of them: page counters include descendants.
  std::int64_t charged_bytes = 0;
};
/// Most first.
[[nodiscard]] std::vector<MemcgGroup> dying_by_pin(const MemcgTable& table);
[[nodiscard]] std::vector<MemcgGroup> dying_by_parent(const MemcgTable& table);
/// By pod, container or unit (evidence/containers.h), "no unit or pod" for the rest.
[[nodiscard]] std::vector<MemcgGroup> dying_by_owner(const MemcgTable& table);

/// Sums over live or dying memory cgroups. A kind that is not known stays -1, and memory_bytes of live ones, of which the page
/// counters include the dying below them.
[[nodiscard]] MemcgCharges total_charges(const MemcgTable& table, bool live);

/// include/linux/memcontrol.h: MEM_CGROUP_ID_MAX is USHRT_MAX.
inline constexpr std::int64_t memcg_id_limit = 65'535;

}  // namespace stallscope::census
