/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
#ifndef STALLSCOPE_TRACE_TASK_BPF_H
#define STALLSCOPE_TRACE_TASK_BPF_H

/* Describes the current task: who it is, in which system call, on which file, and its kernel stack. Reads a few hundred words, so
 * it runs only once something has waited. */

#include "bpf/compat.bpf.h"
#include "trace/wait_record.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h; unchanged since 2.6.27 */

/* Appends one name; returns the new offset, or TRACE_PATH_LIMIT when it does not fit. */
static __always_inline __u32 append_name(char* path, __u32 offset, const void* name) {
  long written;

  if (offset >= TRACE_PATH_LIMIT)
    return TRACE_PATH_LIMIT;
  written = bpf_probe_read_kernel_str(path + offset, TRACE_NAME_BYTES, name);
  return written > 0 ? offset + (__u32)written : offset;
}

#define PATH_DEPTH 24

static __noinline __u32 cgroup_names(char* path, struct cgroup* cgroup) {
  struct kernfs_node* node = BPF_CORE_READ(cgroup, kn);
  __u32 offset = 0;

  for (int depth = 0; depth < PATH_DEPTH; depth++) {
    struct kernfs_node* parent;

    if (!node)
      break;
    parent = compat_kernfs_parent(node);
    if (!parent) /* the root's name is empty */
      break;
    offset = append_name(path, offset, BPF_CORE_READ(node, name));
    node = parent;
  }
  return offset;
}

/* As d_path does (fs/d_path.c, prepend_path): up the names, and at the root of a mount on from its mount point. */
static __noinline __u32 file_names(char* path, struct file* file) {
  struct dentry* dentry = BPF_CORE_READ(file, f_path.dentry);
  struct vfsmount* inner = BPF_CORE_READ(file, f_path.mnt);
  struct mount* mount = (void*)inner - bpf_core_field_offset(struct mount, mnt);
  __u32 offset = 0;

  if (!dentry || !inner)
    return 0;
  for (int depth = 0; depth < PATH_DEPTH; depth++) {
    struct dentry* parent = BPF_CORE_READ(dentry, d_parent);

    if (dentry == BPF_CORE_READ(mount, mnt.mnt_root) || dentry == parent) {
      struct mount* outer = BPF_CORE_READ(mount, mnt_parent);

      if (!outer || outer == mount)
        break;
      dentry = BPF_CORE_READ(mount, mnt_mountpoint);
      mount = outer;
      continue;
    }
    offset = append_name(path, offset, BPF_CORE_READ(dentry, d_name.name));
    dentry = parent;
  }
  return offset;
}

static __always_inline struct file* task_file(struct task_struct* task, __u64 descriptor) {
  struct fdtable* table = BPF_CORE_READ(task, files, fdt);
  struct file** files = BPF_CORE_READ(table, fd);
  struct file* file = NULL;

  if (!table || descriptor >= BPF_CORE_READ(table, max_fds))
    return NULL;
  bpf_probe_read_kernel(&file, sizeof(file), &files[descriptor]);
  return file;
}

/* What the current task left in its registers when it came from user space, or NULL: of a kernel thread, and of a program for 32
 * bits, which numbers its system calls otherwise; anything else there is not what user space left. */
static __always_inline struct pt_regs___x86* user_registers(struct task_struct* task) {
  struct pt_regs___x86* registers;

  if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
    return NULL;
  registers = compat_user_registers(task);
  return BPF_CORE_READ(registers, cs) == COMPAT_USER_CS ? registers : NULL;
}

/* Everything but the stack, which needs the program's own context. */
static __noinline void describe_task(struct trace_task* out, struct task_struct* task) {
  struct pt_regs___x86* registers;
  struct file* file;

  out->pid = BPF_CORE_READ(task, pid);
  out->tgid = BPF_CORE_READ(task, tgid);
  out->flags = 0;
  out->syscall_number = -1;
  __builtin_memset(out->syscall_arguments, 0, sizeof(out->syscall_arguments));
  out->file_bytes = 0;
  out->pad = 0;
  BPF_CORE_READ_STR_INTO(&out->comm, task, comm);
  out->cgroup_bytes = cgroup_names(out->cgroup, compat_task_cgroup(task));
  if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
    out->flags |= TRACE_TASK_KERNEL_THREAD;
  registers = user_registers(task);
  if (!registers)
    return;
  out->flags |= TRACE_TASK_HAS_REGISTERS;
  out->syscall_number = BPF_CORE_READ(registers, orig_ax);
  out->syscall_arguments[0] = BPF_CORE_READ(registers, di);
  out->syscall_arguments[1] = BPF_CORE_READ(registers, si);
  out->syscall_arguments[2] = BPF_CORE_READ(registers, dx);
  out->syscall_arguments[3] = BPF_CORE_READ(registers, r10);
  out->syscall_arguments[4] = BPF_CORE_READ(registers, r8);
  out->syscall_arguments[5] = BPF_CORE_READ(registers, r9);
  /* Whether the call takes a descriptor at all is user space's to know; any small number is looked up. */
  file = task_file(task, out->syscall_arguments[0]);
  if (file)
    out->file_bytes = file_names(out->file, file);
}

#endif
