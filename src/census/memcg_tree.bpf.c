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

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __type(key, struct pinning_file_key);
  __type(value, struct pinning_file_value);
} pinning_files SEC(".maps");

// Live cgroups with dying descendants: their kernfs id (the directory's inode number) and how many.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, __u64);
  __type(value, __u64);
} dying_below SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct file_name_reply);
} file_name SEC(".maps");

extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;

struct lru_scan {
  struct mem_cgroup* memcg;
  struct inode* inode;
  bool saw_page;
};

static __always_inline __u32 generation_list_count(void) {
  struct lruvec* lruvec = NULL;
  struct lruvec___6_1* lruvec_6_1 = NULL;
  if (bpf_core_field_exists(lruvec->lrugen.folios)) {
    return bpf_core_field_size(lruvec->lrugen.folios) / sizeof(struct list_head);
  }
  if (bpf_core_field_exists(lruvec_6_1->lrugen.lists)) {
    return bpf_core_field_size(lruvec_6_1->lrugen.lists) / sizeof(struct list_head);
  }
  return 0;
}

static __always_inline struct list_head* generation_lists(struct lruvec* lruvec) {
  if (bpf_core_field_exists(lruvec->lrugen.folios)) {
    return (struct list_head*)&lruvec->lrugen.folios;
  }
  struct lruvec___6_1* lruvec_6_1 = (void*)lruvec;
  if (bpf_core_field_exists(lruvec_6_1->lrugen.lists)) {
    return (struct list_head*)&lruvec_6_1->lrugen.lists;
  }
  return NULL;
}

// The classic lists of a node come first, then those of MGLRU: whichever is in use, the others are empty.
static long look_at_lru_list(__u32 index, struct lru_scan* scan) {
  const __u32 lists_per_node = EVICTABLE_LRU_LISTS + generation_list_count();
  const __u32 node = index / lists_per_node;
  const __u32 list = index % lists_per_node;

  struct mem_cgroup_per_node* per_node = NULL;
  void* nodeinfo = (void*)scan->memcg + bpf_core_field_offset(struct mem_cgroup, nodeinfo);
  bpf_probe_read_kernel(&per_node, sizeof(per_node), nodeinfo + node * sizeof(void*));
  if (!per_node) {
    return 0;
  }
  struct lruvec* lruvec = &per_node->lruvec;
  struct list_head* lists = (struct list_head*)&lruvec->lists;
  struct list_head* head = list < EVICTABLE_LRU_LISTS ? lists + list : generation_lists(lruvec) + (list - EVICTABLE_LRU_LISTS);
  struct list_head* first = NULL;
  bpf_probe_read_kernel(&first, sizeof(first), head);
  if (!first || first == head) {
    return 0;
  }
  scan->saw_page = true;
  struct folio* folio = (void*)first - bpf_core_field_offset(struct folio, lru);
  struct address_space* mapping = BPF_CORE_READ(folio, mapping);
  if (!mapping || ((__u64)mapping & PAGE_MAPPING_FLAGS)) {
    return 0;
  }
  scan->inode = BPF_CORE_READ(mapping, host);
  return scan->inode ? 1 : 0;
}

static __always_inline void find_pinning_file(struct mem_cgroup* memcg, __u64 charged_pages, struct memcg_walk* walk) {
  struct lru_scan scan = {.memcg = memcg};
  bpf_loop(node_count * (EVICTABLE_LRU_LISTS + generation_list_count()), look_at_lru_list, &scan, 0);
  struct inode* inode = scan.inode;
  if (!inode) {
    if (scan.saw_page) {
      walk->anonymous_only_count++;
    } else {
      walk->without_page_count++;
    }
    return;
  }
  struct pinning_file_key key = {.inode = BPF_CORE_READ(inode, i_ino), .device = BPF_CORE_READ(inode, i_sb, s_dev)};
  struct pinning_file_value* known = bpf_map_lookup_elem(&pinning_files, &key);
  if (known) {
    known->memcg_count++;
    known->charged_pages += charged_pages;
    return;
  }
  struct pinning_file_value value = {.memcg_count = 1, .charged_pages = charged_pages, .inode_address = (__u64)inode};
  if (bpf_map_update_elem(&pinning_files, &key, &value, BPF_ANY)) {
    walk->untracked_count++;
  }
}

static __always_inline void visit(struct cgroup_subsys_state* css, struct memcg_walk* walk) {
  if (BPF_CORE_READ(css, flags) & CSS_ONLINE) {
    walk->live_count++;
    struct cgroup* cgroup = BPF_CORE_READ(css, cgroup);
    const int dying = BPF_CORE_READ(cgroup, nr_dying_descendants);
    if (dying > 0) {
      __u64 id = BPF_CORE_READ(cgroup, kn, id);
      __u64 count = (__u32)dying;
      bpf_map_update_elem(&dying_below, &id, &count, BPF_ANY);
    }
    return;
  }
  walk->dying_count++;
  struct mem_cgroup* memcg = (void*)css - bpf_core_field_offset(struct mem_cgroup, css);
  const long charged = BPF_CORE_READ(memcg, memory.usage.counter);
  const __u64 charged_pages = charged > 0 ? charged : 0;
  if (BPF_CORE_READ(css, parent, flags) & CSS_ONLINE) {
    walk->dying_charged_pages += charged_pages;
  }
  find_pinning_file(memcg, charged_pages, walk);
}

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
    visit(css, walk);
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

SEC("syscall")
int name_file(struct file_name_request* request) {
  const __u32 zero = 0;
  struct file_name_reply* reply = bpf_map_lookup_elem(&file_name, &zero);
  if (!reply) {
    return 1;
  }
  reply->named = 0;
  reply->deleted = 0;
  reply->detached = 0;
  reply->truncated = 0;
  reply->path_length = 0;
  reply->filesystem[0] = 0;
  struct inode* inode = (void*)request->inode_address;
  struct super_block* super = BPF_CORE_READ(inode, i_sb);
  if (BPF_CORE_READ(inode, i_ino) != request->inode || BPF_CORE_READ(super, s_dev) != request->device) {
    return 0;
  }
  bpf_probe_read_kernel_str(reply->filesystem, sizeof(reply->filesystem), BPF_CORE_READ(super, s_type, name));
  struct hlist_node* alias = BPF_CORE_READ(inode, i_dentry.first);
  if (alias) {
    name_from_dentries((void*)alias - bpf_core_field_offset(struct dentry, d_u.d_alias), reply);
  }
  return 0;
}
