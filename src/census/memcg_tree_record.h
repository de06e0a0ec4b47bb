// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
// What memcg_tree.bpf.c and memcg_walk.cpp exchange. Plain C, so that both sides include this one definition; the including file
// provides __u32 and __u64.
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
  __u32 padding;
  __u64 live_count;
  __u64 dying_count;
  /// Charge of the topmost dying memory cgroups: page counters include the descendants.
  __u64 dying_charged_pages;
  /// Dying memory cgroups without a page on an LRU list, and those whose pages there are all anonymous memory.
  __u64 without_page_count;
  __u64 anonymous_only_count;
  /// Dying memory cgroups whose file did not fit into the map.
  __u64 untracked_count;
  /// How long this section ran.
  __u64 section_ns;
};

struct pinning_file_key {
  __u64 inode;
  __u32 device;
  __u32 padding;
};
struct pinning_file_value {
  __u64 memcg_count;
  __u64 charged_pages;
  /// Address of the struct inode, to name the file by later.
  __u64 inode_address;
};

/// In: which file.
struct file_name_request {
  __u64 inode_address;
  __u64 inode;
  __u32 device;
  __u32 padding;
};

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
  char filesystem[filesystem_name_bytes];
  /// Names from the file up to below the root, each ended by NUL. The tail takes the last name written at any offset.
  char path[file_path_bytes + file_name_bytes];
};

#ifdef __cplusplus
static_assert(sizeof(memcg_walk) == 104 && sizeof(pinning_file_key) == 16 && sizeof(pinning_file_value) == 24 &&
              sizeof(file_name_request) == 24 && sizeof(file_name_reply) == 4408);
#else
_Static_assert(sizeof(struct memcg_walk) == 104 && sizeof(struct pinning_file_key) == 16 &&
                   sizeof(struct pinning_file_value) == 24 && sizeof(struct file_name_request) == 24 &&
                   sizeof(struct file_name_reply) == 4408,
               "both sides lay the records out alike");
#endif
// NOLINTEND(readability-identifier-naming)
