// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
// What memcg_tree.bpf.c and memcg_walk.cpp exchange. Plain C, so that both sides include this one definition; the including file
// provides __u32, __s64 and __u64.
#pragma once

// NOLINTBEGIN(readability-identifier-naming): the C names of both sides
enum memcg_walk_status {
  /// The section's budget is used up; call again with the same record.
  memcg_walk_more = 0,
  memcg_walk_done = 1,
  /// The memory cgroup to continue at is gone: begin anew.
  memcg_walk_cursor_lost = 2,
  /// The calling task has no memory cgroup, so there is no way to the root.
  memcg_walk_no_controller = 3,
};

/// In and out: all zero before the first section. Counters add up over the sections of one walk.
struct memcg_walk {
  __u64 root_css;
  /// Where the next section begins, 0 for the root, and what must still be true of it.
  __u64 cursor_css;
  __u64 cursor_cgroup;
  __u64 cursor_serial;
  __u32 cursor_id;
  /// The cursor's subtree is done; go on with its next sibling.
  __u32 cursor_subtree_done;
  __u32 status;
  /// How many memcg_rows this section filled.
  __u32 row_count;
  /// How long this section ran.
  __u64 section_ns;
};

enum { memcg_row_capacity = 1024, memcg_name_bytes = 256 };

enum memcg_row_flags {
  memcg_row_online = 1 << 0,
  /// A page is on one of its LRU lists; one of a file; one of anonymous memory was the first on its list.
  memcg_row_has_page = 1 << 1,
  memcg_row_has_anonymous = 1 << 2,
  memcg_row_has_child = 1 << 3,
  /// Inodes with dirty pages of its (struct bdi_writeback), each of which holds a reference.
  memcg_row_has_writeback = 1 << 4,
  /// The counters below from file_pages on are known.
  memcg_row_has_kinds = 1 << 5,
  /// In the unified hierarchy.
  memcg_row_v2 = 1 << 6,
};

/// One memory cgroup. Addresses relate rows of one walk to each other and name files later; they are never shown.
struct memcg_row {
  __u64 css;
  __u64 parent_css;
  /// kernfs id: the inode number of its directory, while it has one.
  __u64 id;
  /// Counts up with each css made, of any controller.
  __u64 serial;
  /// Of a dying one: the file its first page on an LRU list belongs to, or 0.
  __u64 inode_address;
  __u64 inode;
  __u32 device;
  __u32 flags;
  /// Of 65,535; 0: given back.
  __u32 memcg_id;
  __u32 dying_below;
  /// -1: counted per CPU, as of a live one.
  __s64 references;
  /// Charged, descendants included: page counters of memory, swap (v1: memory and swap), kernel memory (v1) and TCP (v1).
  __s64 memory_pages;
  __s64 swap_pages;
  __s64 kmem_pages;
  __s64 tcp_pages;
  /// On LRU lists, without descendants.
  __s64 lru_anonymous_pages;
  __s64 lru_file_pages;
  __s64 lru_unevictable_pages;
  /// As far as rstat has flushed.
  __s64 file_pages;
  __s64 anonymous_pages;
  __s64 shmem_pages;
  __s64 slab_reclaimable_bytes;
  __s64 slab_unreclaimable_bytes;
  __s64 kernel_stack_kib;
  __s64 swapped_pages;
  __s64 socket_pages;
  __u32 name_length;
  __u32 padding;
  char name[memcg_name_bytes];
};

enum { cached_file_capacity = 1024 };

/// A file with page cache.
struct cached_file_row {
  __u64 inode_address;
  __u64 inode;
  __u64 pages;
  __u32 device;
  __u32 padding;
};

/// In and out, as memcg_walk: of the inodes that are in memory.
struct file_walk {
  __u64 first_super;
  __u64 cursor_super;
  __u64 cursor_at;
  __u64 cursor_inode;
  __u32 cursor_device;
  /// As memcg_walk_status.
  __u32 status;
  /// How many cached_file_rows this section filled: files with at least so many pages.
  __u32 row_count;
  __u32 padding;
  __u64 least_pages;
  /// Counts on over the sections.
  __u64 inode_count;
  __u64 section_ns;
};

/// In: which file.
struct file_name_request {
  __u64 inode_address;
  __u64 inode;
  __u32 device;
  __u32 padding;
};

/// In and out: begin with the request of this number, and how many there are. Ends early when its time is up.
struct file_naming {
  __u32 next;
  __u32 count;
  __u64 section_ns;
};

enum { file_name_batch = 64 };

enum { file_path_bytes = 4096, file_name_bytes = 256, file_path_depth = 40, filesystem_name_bytes = 32 };

struct file_name_reply {
  /// 0: the inode is no longer this file, or no directory entry of it is cached.
  __u32 named;
  __u32 deleted;
  /// It belongs to no directory: a memfd, a System V segment.
  __u32 detached;
  /// The path is deeper or longer than the buffer: its topmost directories are missing.
  __u32 truncated;
  __u32 path_length;
  __u32 padding;
  /// Of its page cache.
  __u64 cached_pages;
  char filesystem[filesystem_name_bytes];
  /// Names from the file up to below the root, each ended by NUL. The tail takes the last name written at any offset.
  char path[file_path_bytes + file_name_bytes];
};

#ifdef __cplusplus
static_assert(sizeof(memcg_walk) == 56 && sizeof(cached_file_row) == 32 && sizeof(file_walk) == 72 && sizeof(memcg_row) == 456 &&
              sizeof(file_name_request) == 24 && sizeof(file_naming) == 16 && sizeof(file_name_reply) == 4416);
#else
_Static_assert(sizeof(struct memcg_walk) == 56 && sizeof(struct cached_file_row) == 32 && sizeof(struct file_walk) == 72 &&
                   sizeof(struct memcg_row) == 456 && sizeof(struct file_name_request) == 24 && sizeof(struct file_naming) == 16 &&
                   sizeof(struct file_name_reply) == 4416,
               "both sides lay the records out alike");
#endif
// NOLINTEND(readability-identifier-naming)
