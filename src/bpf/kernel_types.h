/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_BPF_KERNEL_TYPES_H
#define STALLSCOPE_BPF_KERNEL_TYPES_H

/* The kernel types our programs read, and of each only the members they read. CO-RE relocates every access against the running
 * kernel, so neither order nor size matters here and no generated header is needed. A name ending in ___something is another
 * kernel's version of the same type (libbpf ignores the suffix). */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

/* libbpf's bpf_tracing.h wants it declared; programs on kernels with BTF never look inside. */
struct pt_regs;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
  int counter;
} atomic_t;

struct list_head {
  struct list_head *next, *prev;
};

/* --- file system --- */

struct qstr {
  const unsigned char* name;
};

struct dentry {
  struct dentry* d_parent;
  struct qstr d_name;
};

struct vfsmount {
  struct dentry* mnt_root;
};

/* fs/mount.h */
struct mount {
  struct mount* mnt_parent;
  struct dentry* mnt_mountpoint;
  struct vfsmount mnt;
};

struct path {
  struct vfsmount* mnt;
  struct dentry* dentry;
};

struct file {
  struct path f_path;
};

struct fdtable {
  unsigned int max_fds;
  struct file** fd;
};

struct files_struct {
  struct fdtable* fdt;
};

/* --- control groups --- */

struct kernfs_node {
  struct kernfs_node* parent;
  const char* name;
};

/* Linux 6.15, commit 741c10b096bc: `parent` became the RCU-protected `__parent`. */
struct kernfs_node___rcu_parent {
  struct kernfs_node* __parent;
};

struct cgroup_root {
  int hierarchy_id;
};

struct cgroup {
  struct kernfs_node* kn;
  struct cgroup_root* root;
};

struct cgroup_subsys_state {
  struct cgroup* cgroup;
};

struct css_set {
  struct cgroup_subsys_state* subsys[1];
  struct cgroup* dfl_cgrp;
};

enum cgroup_subsys_id {
  memory_cgrp_id = 4, /* relocated: the number depends on the kernel's configuration */
};

/* --- tasks --- */

struct rq {
  __u64 clock;
  __u64 prev_steal_time_rq; /* only with CONFIG_PARAVIRT_TIME_ACCOUNTING */
};

struct cfs_rq {
  struct rq* rq; /* only with CONFIG_FAIR_GROUP_SCHED */
};

struct sched_entity {
  struct cfs_rq* cfs_rq;
};

struct task_struct {
  struct sched_entity se;
  unsigned int flags;
  int pid;
  int tgid;
  char comm[16];
  void* stack;
  struct files_struct* files;
  struct css_set* cgroups;
};

/* Where the CPU of a task is: since Linux 5.16 (bcf9033e5449), and before. */
struct thread_info {
  __u32 cpu;
};

struct task_struct___thread_info {
  struct thread_info thread_info;
};

struct task_struct___cpu {
  unsigned int cpu;
};

/* x86_64: the registers a system call was entered with. */
struct pt_regs___x86 {
  unsigned long r10;
  unsigned long r9;
  unsigned long r8;
  unsigned long dx;
  unsigned long si;
  unsigned long di;
  unsigned long orig_ax;
  unsigned long cs;
};

/* --- timers --- */

struct timerqueue_node {
  __s64 expires;
};

struct hrtimer {
  struct timerqueue_node node;
  __u8 is_soft;
};

/* --- network --- */

struct ns_common {
  unsigned int inum;
};

struct net {
  struct ns_common ns;
};

typedef struct {
  struct net* net;
} possible_net_t;

struct net_device {
  int ifindex;
  char name[16];
  possible_net_t nd_net;
};

struct sk_buff {
  struct net_device* dev;
  unsigned int len;
  unsigned char* data;
  __be16 protocol;
  __u16 queue_mapping;
};

#pragma clang attribute pop

#endif
