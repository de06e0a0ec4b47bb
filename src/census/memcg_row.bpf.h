/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#pragma once

/* What memcg_tree.bpf.c reads of one memory cgroup. Every field is read where it lies, without a lock: the numbers are of one
 * moment each, not of one moment together. */

struct lru_scan {
  struct mem_cgroup* memcg;
  struct inode* inode;
  bool saw_page;
  bool saw_anonymous;
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

static __always_inline struct mem_cgroup_per_node* node_of(struct mem_cgroup* memcg, __u32 node) {
  struct mem_cgroup_per_node* per_node = NULL;
  void* nodeinfo = (void*)memcg + bpf_core_field_offset(struct mem_cgroup, nodeinfo);
  bpf_probe_read_kernel(&per_node, sizeof(per_node), nodeinfo + node * sizeof(void*));
  return per_node;
}

/* The classic lists of a node come first, then those of MGLRU: whichever is in use, the others are empty. */
static long look_at_lru_list(__u32 index, struct lru_scan* scan) {
  const __u32 lists_per_node = EVICTABLE_LRU_LISTS + generation_list_count();
  const __u32 list = index % lists_per_node;
  struct mem_cgroup_per_node* per_node = node_of(scan->memcg, index / lists_per_node);
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
  if ((__u64)mapping & PAGE_MAPPING_FLAGS) {
    scan->saw_anonymous = true;
    return 0;
  }
  if (!mapping) {
    return 0;
  }
  scan->inode = BPF_CORE_READ(mapping, host);
  return scan->inode ? 1 : 0;
}

/* mm/memcontrol.c since 6.11 or so: the arrays hold, in this order, what memcg_node_stat_items lists and then what
 * memcg_stat_items lists. Neither list is in BTF. Seen in 6.12 and 6.18: the first 25 of the former are the same in any
 * configuration, and their number is the length of lruvec_stats.state; MEMCG_SWAP and MEMCG_SOCK begin the latter. The reader
 * checks the result against the LRU lists (census/memcg_table.cpp). */
enum {
  COMPACT_SLAB_RECLAIMABLE = 5,
  COMPACT_SLAB_UNRECLAIMABLE,
  COMPACT_ANON = 14,
  COMPACT_FILE = 16,
  COMPACT_SHMEM = 19,
  COMPACT_STACK = 23
};

static __always_inline bool compact_stats(void) {
  return bpf_core_field_size(((struct memcg_vmstats*)0)->state) / sizeof(long) <
         bpf_core_enum_value(enum memcg_stat_item, MEMCG_NR_STAT);
}

/* Where `item` is found, and where in the compact arrays. */
#define STAT_INDEX(compact_index, kind, item) (compact_stats() ? (compact_index) : bpf_core_enum_value(enum kind, item))

static __always_inline void* stats_of(struct mem_cgroup* memcg) {
  struct memcg_vmstats* stats;
  if (!bpf_core_field_exists(memcg->vmstats) || !bpf_core_type_exists(struct memcg_vmstats)) {
    return NULL;
  }
  stats = (void*)memcg + bpf_core_field_offset(struct mem_cgroup, vmstats);
  if (bpf_core_field_size(memcg->vmstats) == sizeof(void*)) {
    stats = BPF_CORE_READ(memcg, vmstats);
  }
  if (!stats) {
    return NULL;
  }
  if (bpf_core_field_exists(stats->state_local)) {
    return &stats->state_local;
  }
  return &stats->state;
}

static __always_inline __s64 stat_at(const void* stats, __u64 index) {
  long value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), stats + index * sizeof(long));
  return value > 0 ? value : 0;
}

static __always_inline void read_kinds(struct mem_cgroup* memcg, struct memcg_row* row) {
  const void* stats = stats_of(memcg);
  if (!stats) {
    return;
  }
  const __u64 node_items = bpf_core_field_size(((struct lruvec_stats*)0)->state) / sizeof(long);
  row->flags |= memcg_row_has_kinds;
  row->file_pages = stat_at(stats, STAT_INDEX(COMPACT_FILE, node_stat_item, NR_FILE_PAGES));
  row->anonymous_pages = stat_at(stats, STAT_INDEX(COMPACT_ANON, node_stat_item, NR_ANON_MAPPED));
  row->shmem_pages = stat_at(stats, STAT_INDEX(COMPACT_SHMEM, node_stat_item, NR_SHMEM));
  row->slab_reclaimable_bytes = stat_at(stats, STAT_INDEX(COMPACT_SLAB_RECLAIMABLE, node_stat_item, NR_SLAB_RECLAIMABLE_B));
  row->slab_unreclaimable_bytes = stat_at(stats, STAT_INDEX(COMPACT_SLAB_UNRECLAIMABLE, node_stat_item, NR_SLAB_UNRECLAIMABLE_B));
  row->kernel_stack_kib = stat_at(stats, STAT_INDEX(COMPACT_STACK, node_stat_item, NR_KERNEL_STACK_KB));
  row->swapped_pages = stat_at(stats, STAT_INDEX(node_items, memcg_stat_item, MEMCG_SWAP));
  row->socket_pages = stat_at(stats, STAT_INDEX(node_items + 1, memcg_stat_item, MEMCG_SOCK));
}

/* include/linux/mmzone.h: NR_LRU_LISTS, unchanged since 2.6.28; a kernel has six zones at most. */
enum { LRU_LISTS = 5, MOST_ZONES = 6 };

struct lru_sizes {
  struct mem_cgroup* memcg;
  struct memcg_row* row;
};

static long add_lru_sizes(__u32 node, struct lru_sizes* sizes) {
  unsigned long pages[MOST_ZONES * LRU_LISTS] = {};
  struct mem_cgroup_per_node* per_node = node_of(sizes->memcg, node);
  __u32 bytes = bpf_core_field_size(per_node->lru_zone_size);
  if (!per_node) {
    return 0;
  }
  if (bytes > sizeof(pages)) {
    bytes = sizeof(pages);
  }
  bpf_probe_read_kernel(pages, bytes, &per_node->lru_zone_size);
#pragma unroll
  for (int zone = 0; zone < MOST_ZONES; zone++) {
    sizes->row->lru_anonymous_pages += pages[zone * LRU_LISTS] + pages[zone * LRU_LISTS + 1];
    sizes->row->lru_file_pages += pages[zone * LRU_LISTS + 2] + pages[zone * LRU_LISTS + 3];
    sizes->row->lru_unevictable_pages += pages[zone * LRU_LISTS + 4];
  }
  return 0;
}

static __always_inline void read_counters(struct mem_cgroup* memcg, struct memcg_row* row) {
  row->memory_pages = BPF_CORE_READ(memcg, memory.usage.counter);
  row->swap_pages = BPF_CORE_READ(memcg, swap.usage.counter);
  if (bpf_core_field_exists(memcg->kmem)) {
    row->kmem_pages = BPF_CORE_READ(memcg, kmem.usage.counter);
  }
  if (bpf_core_field_exists(memcg->tcpmem)) {
    row->tcp_pages = BPF_CORE_READ(memcg, tcpmem.usage.counter);
  }
  struct lru_sizes sizes = {.memcg = memcg, .row = row};
  row->lru_anonymous_pages = 0;
  row->lru_file_pages = 0;
  row->lru_unevictable_pages = 0;
  bpf_loop(node_count, add_lru_sizes, &sizes, 0);
}

static __always_inline void find_pins(struct cgroup_subsys_state* css, struct mem_cgroup* memcg, struct memcg_row* row) {
  struct lru_scan scan = {.memcg = memcg};
  bpf_loop(node_count * (EVICTABLE_LRU_LISTS + generation_list_count()), look_at_lru_list, &scan, 0);
  if (scan.saw_page) {
    row->flags |= memcg_row_has_page;
  }
  if (scan.saw_anonymous) {
    row->flags |= memcg_row_has_anonymous;
  }
  struct inode* inode = scan.inode;
  if (inode) {
    row->inode_address = (__u64)inode;
    row->inode = BPF_CORE_READ(inode, i_ino);
    row->device = BPF_CORE_READ(inode, i_sb, s_dev);
  }
  if (bpf_core_field_exists(memcg->cgwb_list)) {
    struct list_head* first = BPF_CORE_READ(memcg, cgwb_list.next);
    if (first && first != &memcg->cgwb_list) {
      row->flags |= memcg_row_has_writeback;
    }
  }
}

/* include/linux/percpu-refcount.h: with this bit the count is one number, as after the css was killed. */
enum { PERCPU_REF_ATOMIC = 1 };

static __always_inline void fill_row(struct cgroup_subsys_state* css, struct memcg_row* row) {
  struct mem_cgroup* memcg = (void*)css - bpf_core_field_offset(struct mem_cgroup, css);
  struct cgroup* cgroup = BPF_CORE_READ(css, cgroup);
  struct kernfs_node* node = BPF_CORE_READ(cgroup, kn);
  row->css = (__u64)css;
  row->parent_css = (__u64)BPF_CORE_READ(css, parent);
  row->id = BPF_CORE_READ(node, id);
  row->serial = BPF_CORE_READ(css, serial_nr);
  row->inode_address = 0;
  row->inode = 0;
  row->device = 0;
  row->memcg_id = BPF_CORE_READ(memcg, id.id);
  row->dying_below = BPF_CORE_READ(cgroup, nr_dying_descendants);
  row->references = -1;
  row->flags = 0;
  const long length = bpf_probe_read_kernel_str(row->name, sizeof(row->name), BPF_CORE_READ(node, name));
  row->name_length = length > 0 ? length - 1 : 0;
  if (BPF_CORE_READ(css, children.next) != &css->children) {
    row->flags |= memcg_row_has_child;
  }
  if (BPF_CORE_READ(cgroup, root, hierarchy_id) == 0) {
    row->flags |= memcg_row_v2;
  }
  read_counters(memcg, row);
  read_kinds(memcg, row);
  if (BPF_CORE_READ(css, flags) & CSS_ONLINE) {
    row->flags |= memcg_row_online;
    return;
  }
  if (BPF_CORE_READ(css, refcnt.percpu_count_ptr) & PERCPU_REF_ATOMIC) {
    row->references = BPF_CORE_READ(css, refcnt.data, count.counter);
  }
  find_pins(css, memcg, row);
}
