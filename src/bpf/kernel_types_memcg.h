// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
// The fields of kernel structures that the memory cgroup census reads, for BPF programs only. libbpf relocates every access to
// the running kernel by member name (CO-RE), so order, size and omitted members do not matter; a member another kernel names
// differently has a ___flavour of its own with the versions it is for. Read from include/linux/{cgroup-defs,memcontrol,mmzone,
// page_counter,mm_types,fs,dcache}.h of Linux 5.17, 6.1, 6.12 and 6.18.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

// include/linux/cgroup-defs.h: neither value has changed since 3.13.
enum { CSS_ONLINE = 1 << 1, CSS_RELEASED = 1 << 2 };
// include/linux/page-flags.h: the low bits of folio->mapping say what it points to; both clear means a struct address_space.
enum { PAGE_MAPPING_FLAGS = 3 };
// include/linux/mmzone.h: anonymous and file, inactive and active. The fifth list, of unevictable folios, is left out: since 5.18
// (commit 07ca76067308) folios counted there are not linked into it.
enum { EVICTABLE_LRU_LISTS = 4 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
  struct list_head *next, *prev;
};
struct hlist_node {
  struct hlist_node *next, **pprev;
};
struct hlist_head {
  struct hlist_node* first;
};
struct hlist_bl_node {
  struct hlist_bl_node *next, **pprev;
};

// The number of memory_cgrp_id depends on the kernel's configuration; ask bpf_core_enum_value.
enum cgroup_subsys_id { memory_cgrp_id = 4 };

struct kernfs_node {
  __u64 id;
  const char* name;
};
struct cgroup_root {
  int hierarchy_id;
};
struct cgroup {
  int nr_dying_descendants;
  struct kernfs_node* kn;
  struct cgroup_root* root;
};
typedef struct {
  long counter;
} atomic_long_t;
// include/linux/percpu-refcount.h: the count is in `data` since 5.10 (commit 2b0d3d3e4fcf).
struct percpu_ref_data {
  atomic_long_t count;
};
struct percpu_ref {
  unsigned long percpu_count_ptr;
  struct percpu_ref_data* data;
};
struct cgroup_subsys_state {
  struct cgroup* cgroup;
  struct percpu_ref refcnt;
  struct list_head sibling;
  struct list_head children;
  int id;
  unsigned int flags;
  __u64 serial_nr;
  struct cgroup_subsys_state* parent;
};
struct css_set {
  struct cgroup_subsys_state* subsys[1];
};
struct super_block;
struct vfsmount {
  struct super_block* mnt_sb;
};
struct path {
  struct vfsmount* mnt;
};
struct fs_struct {
  struct path root;
};
struct task_struct {
  struct css_set* cgroups;
  struct fs_struct* fs;
};

struct page_counter {
  atomic_long_t usage;
};
// MGLRU, only with CONFIG_LRU_GEN: lru_gen_struct.lists since 6.1 (commit ec1c86b25f4b), lru_gen_folio.folios since 6.3 (commit
// 391655fe08d1) and in later 6.1.y. The kernel declares three dimensions (generation, type, zone), but pahole writes them to BTF
// as one.
struct lru_gen_folio {
  struct list_head folios[1];
};
struct lru_gen_struct {
  struct list_head lists[1];
};
struct lruvec___6_1 {
  struct lru_gen_struct lrugen;
};
struct lruvec {
  struct list_head lists[EVICTABLE_LRU_LISTS];
  struct lru_gen_folio lrugen;
};
// Pages by zone and list, updated with each page and not through rstat. BTF flattens the two dimensions.
struct lruvec_stats {
  long state[1];
};
struct mem_cgroup_per_node {
  struct lruvec lruvec;
  unsigned long lru_zone_size[1];
};
struct mem_cgroup_id {
  int id;
};
// What rstat has flushed. state_local, without the descendants,. Before 6.11 or so the index is the item's own number;
// since then unused items are left out: see census/memcg_row.bpf.h.
struct memcg_vmstats {
  long state[1];
  long state_local[1];
};
struct mem_cgroup {
  struct cgroup_subsys_state css;
  struct mem_cgroup_id id;
  struct page_counter memory;
  // cgroup v2; v1 has memsw, memory and swap together, in the same place.
  struct page_counter swap;
  struct page_counter kmem;
  struct page_counter tcpmem;
  // A pointer in 6.1 and later, the struct itself before.
  struct memcg_vmstats* vmstats;
  struct list_head cgwb_list;
  struct mem_cgroup_per_node* nodeinfo[0];
};
// Of both, the numbers depend on the kernel's configuration; ask bpf_core_enum_value.
enum node_stat_item { NR_SLAB_RECLAIMABLE_B, NR_SLAB_UNRECLAIMABLE_B, NR_ANON_MAPPED, NR_FILE_PAGES, NR_SHMEM, NR_KERNEL_STACK_KB };
enum memcg_stat_item { MEMCG_SWAP = 32, MEMCG_SOCK, MEMCG_NR_STAT = 64 };

struct file_system_type {
  const char* name;
};
struct super_block {
  // Of all super blocks.
  struct list_head s_list;
  __u32 s_dev;
  // Its inodes in memory.
  struct list_head s_inodes;
  struct file_system_type* s_type;
};
struct address_space {
  struct inode* host;
  unsigned long nrpages;
};
struct inode {
  unsigned long i_ino;
  struct super_block* i_sb;
  struct address_space* i_mapping;
  struct address_space i_data;
  struct hlist_head i_dentry;
  struct list_head i_sb_list;
};
struct folio {
  struct list_head lru;
  struct address_space* mapping;
};
struct qstr {
  const unsigned char* name;
};
struct dentry {
  struct hlist_bl_node d_hash;
  struct dentry* d_parent;
  struct qstr d_name;
  union {
    struct hlist_node d_alias;
  } d_u;
};

#pragma clang attribute pop
