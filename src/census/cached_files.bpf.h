// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
// Walks the inodes that are in memory, file system by file system, and finds those with page cache. Part of memcg_tree.bpf.c.
//
// Why by pointer: no iterator of BPF's goes through inodes. Only what is linked to the list it came by is gone on from.
// Cost: about 0.5 us per inode.
#pragma once

struct cached_file_row cached_file_rows[cached_file_capacity];
/* Not on the stack: the verifier would follow each value it can have. */
__u32 cached_file_count;

/* arch/x86/include/asm/page_64_types.h, __START_KERNEL_map: data of the kernel itself is above, super blocks are not. By that the
 * head of the list of all super blocks is known, for which there is no symbol. */
#define KERNEL_IMAGE 0xffffffff80000000ULL

struct files_section {
  struct file_walk walk;
  struct super_block* super;
  /* The link of the inode looked at last, or the head of its super block's list. */
  struct list_head* at;
  __u64 deadline_ns;
};

static __always_inline struct inode* inode_of_link(struct list_head* link) {
  return (void*)link - bpf_core_field_offset(struct inode, i_sb_list);
}

static __always_inline struct list_head* inodes_of(struct super_block* super) {
  return (void*)super + bpf_core_field_offset(struct super_block, s_inodes);
}

static __always_inline struct super_block* super_after(struct super_block* super) {
  struct list_head* next = BPF_CORE_READ(super, s_list.next);
  if ((__u64)next >= KERNEL_IMAGE) {
    next = BPF_CORE_READ(next, next);
  }
  return (void*)next - bpf_core_field_offset(struct super_block, s_list);
}

static __always_inline void note_file(struct inode* inode, struct file_walk* walk) {
  const __u64 pages = BPF_CORE_READ(inode, i_data.nrpages);
  walk->inode_count++;
  if (pages < walk->least_pages) {
    return;
  }
  struct cached_file_row* row = &cached_file_rows[cached_file_count++ & (cached_file_capacity - 1)];
  row->inode_address = (__u64)inode;
  row->inode = BPF_CORE_READ(inode, i_ino);
  row->device = BPF_CORE_READ(inode, i_sb, s_dev);
  row->pages = pages;
}

static long next_file(__u32 index, struct files_section* section) {
  struct file_walk* walk = &section->walk;
  if ((index & 15) == 15 && bpf_ktime_get_ns() > section->deadline_ns) {
    return 1;
  }
  /* Of the section itself nothing is to be relocated: a local in each BPF_CORE_READ. */
  struct list_head* at = section->at;
  struct list_head* next = BPF_CORE_READ(at, next);
  /* An inode that leaves its list is linked to itself. */
  if (!next || (next == at && next != inodes_of(section->super))) {
    walk->status = memcg_walk_cursor_lost;
    return 1;
  }
  if (next != inodes_of(section->super)) {
    section->at = next;
    note_file(inode_of_link(next), walk);
    return cached_file_count >= cached_file_capacity ? 1 : 0;
  }
  section->super = super_after(section->super);
  section->at = inodes_of(section->super);
  if ((__u64)section->super == walk->first_super) {
    walk->status = memcg_walk_done;
    return 1;
  }
  return 0;
}

static __always_inline bool file_cursor_is_valid(const struct file_walk* walk) {
  struct super_block* super = (void*)walk->cursor_super;
  struct list_head* at = (void*)walk->cursor_at;
  if (BPF_CORE_READ(super, s_dev) != walk->cursor_device || BPF_CORE_READ(super, s_list.next, prev) != &super->s_list) {
    return false;
  }
  if (at == inodes_of(super)) {
    return true;
  }
  struct inode* inode = inode_of_link(at);
  return BPF_CORE_READ(inode, i_sb) == super && BPF_CORE_READ(inode, i_ino) == walk->cursor_inode &&
         BPF_CORE_READ(at, next, prev) == at && BPF_CORE_READ(at, next) != at;
}

static __always_inline void walk_files_section(struct files_section* section) {
  struct file_walk* walk = &section->walk;
  walk->status = memcg_walk_more;
  cached_file_count = 0;
  if (!walk->cursor_super) {
    struct task_struct* task = (void*)bpf_get_current_task();
    section->super = BPF_CORE_READ(task, fs, root.mnt, mnt_sb);
    section->at = inodes_of(section->super);
    walk->first_super = (__u64)section->super;
  } else if (!file_cursor_is_valid(walk)) {
    walk->status = memcg_walk_cursor_lost;
    return;
  } else {
    section->super = (void*)walk->cursor_super;
    section->at = (void*)walk->cursor_at;
  }
  bpf_loop(section_limit_inodes, next_file, section, 0);
  struct super_block* super = section->super;
  struct inode* inode = inode_of_link(section->at);
  walk->cursor_super = (__u64)super;
  walk->cursor_device = BPF_CORE_READ(super, s_dev);
  walk->cursor_at = (__u64)section->at;
  walk->cursor_inode = section->at == inodes_of(super) ? 0 : BPF_CORE_READ(inode, i_ino);
}

SEC("syscall")
int walk_files(struct file_walk* walk) {
  const __u64 start_ns = bpf_ktime_get_ns();
  struct files_section section = {.walk = *walk, .deadline_ns = start_ns + section_limit_ns};
  if (bpf_rcu_read_lock) {
    bpf_rcu_read_lock();
    walk_files_section(&section);
    bpf_rcu_read_unlock();
  } else {
    walk_files_section(&section);
  }
  section.walk.row_count = cached_file_count;
  section.walk.section_ns = bpf_ktime_get_ns() - start_ns;
  *walk = section.walk;
  return 0;
}
