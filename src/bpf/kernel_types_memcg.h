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
};
struct cgroup {
  int nr_dying_descendants;
  struct kernfs_node* kn;
};
struct cgroup_subsys_state {
  struct cgroup* cgroup;
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
struct task_struct {
  struct css_set* cgroups;
};

typedef struct {
  long counter;
} atomic_long_t;
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
struct mem_cgroup_per_node {
  struct lruvec lruvec;
};
struct mem_cgroup {
  struct cgroup_subsys_state css;
  struct page_counter memory;
  struct mem_cgroup_per_node* nodeinfo[0];
};

struct file_system_type {
  const char* name;
};
struct super_block {
  __u32 s_dev;
  struct file_system_type* s_type;
};
struct inode {
  unsigned long i_ino;
  struct super_block* i_sb;
  struct hlist_head i_dentry;
};
struct address_space {
  struct inode* host;
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
