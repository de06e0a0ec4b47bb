// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
// Walks every memory cgroup of the machine, dying ones too, and finds the file whose page keeps each dying one in memory.
//
// Needs: syscall programs (Linux 5.14), bpf_loop (5.17), kernel BTF. bpf_rcu_read_lock (6.2) is used where it exists; before, the
//   walk is as safe (every read is checked) but on a preemptible kernel it can run into memory that was freed meanwhile.
// Why by pointer: BPF's cgroup iterator skips dying cgroups, and the css iterator (6.7) cannot be continued at a cursor.
// Cost: about 1 us per dying memory cgroup, less per live one (Linux 6.18, 50,000 dying ones). The walk runs in sections, because
// in one piece it would itself
//   keep received packets waiting.
#include "bpf/kernel_types_memcg.h"
// clang-format off: the helpers need the types above
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
// clang-format on
#include "census/memcg_tree_record.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 node_count = 1;
// Set before loading.
const volatile __u32 section_limit_memcgs = 0;
const volatile __u64 section_limit_ns = 0;
const volatile __u32 section_limit_inodes = 8192;

// Mapped by the reader: what one section found, and the files it asks the names of.
struct memcg_row memcg_rows[memcg_row_capacity];
struct file_name_request name_requests[file_name_batch];
struct file_name_reply name_replies[file_name_batch];

extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;

#include "census/memcg_row.bpf.h"

struct section {
  struct memcg_walk walk;
  struct cgroup_subsys_state* css;
  __u64 deadline_ns;
};

static __always_inline struct cgroup_subsys_state* css_of_sibling(struct list_head* sibling) {
  return (void*)sibling - bpf_core_field_offset(struct cgroup_subsys_state, sibling);
}

// One step in pre-order: a parent before its children, siblings as they were made.
static long step(__u32 index, struct section* section) {
  struct cgroup_subsys_state* css = section->css;
  struct memcg_walk* walk = &section->walk;
  // Reading the clock each time would cost as much as visiting a live memory cgroup.
  if ((index & 15) == 15 && bpf_ktime_get_ns() > section->deadline_ns) {
    return 1;
  }
  if (!walk->cursor_subtree_done) {
    if (walk->row_count >= memcg_row_capacity) {
      return 1;
    }
    const __u32 row = walk->row_count++;
    fill_row(css, &memcg_rows[row & (memcg_row_capacity - 1)]);
    struct list_head* child = BPF_CORE_READ(css, children.next);
    if (child != &css->children) {
      section->css = css_of_sibling(child);
      return 0;
    }
  }
  if ((__u64)css == walk->root_css) {
    walk->status = memcg_walk_done;
    return 1;
  }
  struct cgroup_subsys_state* parent = BPF_CORE_READ(css, parent);
  struct list_head* next = BPF_CORE_READ(css, sibling.next);
  if (!parent || !next) {
    walk->status = memcg_walk_cursor_lost;
    return 1;
  }
  walk->cursor_subtree_done = next == &parent->children;
  section->css = walk->cursor_subtree_done ? parent : css_of_sibling(next);
  return 0;
}

static __always_inline struct cgroup_subsys_state* root_of_current_task(void) {
  struct task_struct* task = (void*)bpf_get_current_task();
  struct css_set* css_set = BPF_CORE_READ(task, cgroups);
  const __u64 controller = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
  void* slot = (void*)css_set + bpf_core_field_offset(struct css_set, subsys) + controller * sizeof(void*);
  struct cgroup_subsys_state* css = NULL;
  bpf_probe_read_kernel(&css, sizeof(css), slot);
  // No hierarchy is nearly this deep.
  for (int depth = 0; css && depth < 256; depth++) {
    struct cgroup_subsys_state* parent = BPF_CORE_READ(css, parent);
    if (!parent) {
      return css;
    }
    css = parent;
  }
  return NULL;
}

// Serial numbers are never reused; CSS_RELEASED is set before a css leaves its parent's list and stays set in freed memory.
static __always_inline bool cursor_is_valid(const struct memcg_walk* walk) {
  struct cgroup_subsys_state* css = (void*)walk->cursor_css;
  return BPF_CORE_READ(css, serial_nr) == walk->cursor_serial && (__u64)BPF_CORE_READ(css, cgroup) == walk->cursor_cgroup &&
         (__u32)BPF_CORE_READ(css, id) == walk->cursor_id && !(BPF_CORE_READ(css, flags) & CSS_RELEASED);
}

static __always_inline void save_cursor(struct section* section) {
  struct cgroup_subsys_state* css = section->css;
  section->walk.cursor_css = (__u64)css;
  section->walk.cursor_cgroup = (__u64)BPF_CORE_READ(css, cgroup);
  section->walk.cursor_serial = BPF_CORE_READ(css, serial_nr);
  section->walk.cursor_id = BPF_CORE_READ(css, id);
}

static __always_inline void walk_section(struct section* section) {
  struct memcg_walk* walk = &section->walk;
  walk->status = memcg_walk_more;
  walk->row_count = 0;
  if (!walk->cursor_css) {
    section->css = root_of_current_task();
    walk->root_css = (__u64)section->css;
    if (!section->css) {
      walk->status = memcg_walk_no_controller;
      return;
    }
  } else if (!cursor_is_valid(walk)) {
    walk->status = memcg_walk_cursor_lost;
    return;
  } else {
    section->css = (void*)walk->cursor_css;
  }
  bpf_loop(section_limit_memcgs, step, section, 0);
  if (walk->status == memcg_walk_more) {
    save_cursor(section);
  }
}

#include "census/cached_files.bpf.h"

SEC("syscall")
int walk_memcgs(struct memcg_walk* walk) {
  const __u64 start_ns = bpf_ktime_get_ns();
  struct section section = {.walk = *walk, .deadline_ns = start_ns + section_limit_ns};
  if (bpf_rcu_read_lock) {
    bpf_rcu_read_lock();
    walk_section(&section);
    bpf_rcu_read_unlock();
  } else {
    walk_section(&section);
  }
  section.walk.section_ns = bpf_ktime_get_ns() - start_ns;
  *walk = section.walk;
  return 0;
}

static __always_inline void name_from_dentries(struct dentry* dentry, struct file_name_reply* reply) {
  __u32 length = 0;
  reply->deleted = !BPF_CORE_READ(dentry, d_hash.pprev);
  reply->truncated = 1;
  for (int depth = 0; depth < file_path_depth && length < file_path_bytes; depth++) {
    struct dentry* parent = BPF_CORE_READ(dentry, d_parent);
    if (!parent || (parent == dentry && depth > 0)) {
      reply->truncated = 0;
      break;
    }
    const unsigned char* name = BPF_CORE_READ(dentry, d_name.name);
    __u32 offset = length;
    // Keeps the compiler from dropping the mask, which the verifier needs to see.
    barrier_var(offset);
    offset &= file_path_bytes - 1;
    const long copied = bpf_probe_read_kernel_str(&reply->path[offset], file_name_bytes, name);
    if (copied <= 0) {
      break;
    }
    length += copied & (2 * file_name_bytes - 1);
    if (parent == dentry) {
      reply->detached = 1;
      reply->truncated = 0;
      break;
    }
    dentry = parent;
  }
  reply->path_length = length;
  reply->named = length > 0;
}

static __always_inline void name_file(const struct file_name_request* request, struct file_name_reply* reply) {
  reply->named = 0;
  reply->deleted = 0;
  reply->detached = 0;
  reply->truncated = 0;
  reply->path_length = 0;
  reply->cached_pages = 0;
  reply->filesystem[0] = 0;
  struct inode* inode = (void*)request->inode_address;
  struct super_block* super = BPF_CORE_READ(inode, i_sb);
  if (BPF_CORE_READ(inode, i_ino) != request->inode || BPF_CORE_READ(super, s_dev) != request->device) {
    return;
  }
  reply->cached_pages = BPF_CORE_READ(inode, i_mapping, nrpages);
  bpf_probe_read_kernel_str(reply->filesystem, sizeof(reply->filesystem), BPF_CORE_READ(super, s_type, name));
  struct hlist_node* alias = BPF_CORE_READ(inode, i_dentry.first);
  if (alias) {
    name_from_dentries((void*)alias - bpf_core_field_offset(struct dentry, d_u.d_alias), reply);
  }
}

struct naming_section {
  __u32 first;
  __u32 count;
  __u32 named;
  __u64 deadline_ns;
};

static long name_next(__u32 index, struct naming_section* section) {
  const __u32 which = section->first + index;
  if (which >= section->count || bpf_ktime_get_ns() > section->deadline_ns) {
    return 1;
  }
  const __u32 slot = which & (file_name_batch - 1);
  name_file(&name_requests[slot], &name_replies[slot]);
  section->named++;
  return 0;
}

SEC("syscall")
int name_files(struct file_naming* naming) {
  const __u64 start_ns = bpf_ktime_get_ns();
  struct naming_section section = {.first = naming->next, .count = naming->count, .deadline_ns = start_ns + section_limit_ns};
  if (bpf_rcu_read_lock) {
    bpf_rcu_read_lock();
    bpf_loop(file_name_batch, name_next, &section, 0);
    bpf_rcu_read_unlock();
  } else {
    bpf_loop(file_name_batch, name_next, &section, 0);
  }
  naming->next += section.named;
  naming->section_ns = bpf_ktime_get_ns() - start_ns;
  return 0;
}
