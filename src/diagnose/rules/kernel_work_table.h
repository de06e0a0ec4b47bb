// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string_view>

#include "diagnose/rules/kernel_work.h"

// Work of the memory and slab management. Functions are of mm/ and kernel/cgroup/, from Linux 4.9 on where no other release is
// given.
namespace stallscope::diagnose::rules {

/// How many memory cgroups there are and how many of them are dying, as far as the census knows.
void add_memcg_counts(const Context& context, Finding& finding);
/// Which cgroup the one that reclaimed most belongs to.
void add_reclaiming_cgroup(const Context& context, Finding& finding);

// Two workers take turns for each cgroup whose last reference goes; the first flushes its statistics (kernel/cgroup/cgroup.c,
// mm/memcontrol.c).
inline constexpr std::array<std::string_view, 7> release_functions = {
    "css_release_work_fn", "css_free_rwork_fn", "css_free_work_fn", "mem_cgroup_css_released",
    "mem_cgroup_css_free", "mem_cgroup_free",   "css_release"};
inline constexpr std::array<std::string_view, 2> release_steps = {
    "let go of many zombies a little at a time: cut the file that pins them in steps, not at once",
    "find what makes zombies, so that fewer are let go together: sudo stallscope census",
};
inline constexpr KernelWork zombie_release = {.id = "zombie-release",
                                              .title = "Removed memory cgroups were let go",
                                              .functions = release_functions,
                                              .doing = "lets go of removed memory cgroups",
                                              .next_steps = release_steps,
                                              .add_details = add_memcg_counts};

inline constexpr std::array<std::string_view, 2> numa_stat_functions = {"memcg_numa_stat_show", "memory_numa_stat_show"};
inline constexpr std::array<std::string_view, 1> numa_stat_files = {"/memory.numa_stat"};
inline constexpr std::array<std::string_view, 2> numa_stat_steps = {
    "let it read memory.numa_stat less often, or not at all: memory.stat has the same sums, not by node",
    "check with: sudo stallscope census (counts zombies, which are gone through as well)",
};
inline constexpr KernelWork numa_stat_read = {.id = "numa-stat-read",
                                              .title = "Reading memory.numa_stat",
                                              .functions = numa_stat_functions,
                                              .files = numa_stat_files,
                                              .doing = "reads memory.numa_stat",
                                              .next_steps = numa_stat_steps,
                                              .add_details = add_memcg_counts};

// get_slabinfo counts the lists of partial slabs, until 6.10 all of each with interrupts off (046f4c69090c); cache_show and
// slab_show were its callers' names in turn (mm/slab_common.c).
inline constexpr std::array<std::string_view, 6> slabinfo_functions = {"get_slabinfo", "slabinfo_show",       "slab_show",
                                                                       "cache_show",   "count_partial_free*", "memcg_slab_show"};
inline constexpr std::array<std::string_view, 2> slabinfo_files = {"/slabinfo", "/memory.kmem.slabinfo"};
inline constexpr std::array<std::string_view, 2> slabinfo_steps = {
    "let it read /proc/slabinfo less often; SReclaimable and SUnreclaim of /proc/meminfo cost nothing",
    "use Linux 6.10 or newer, which counts no more than 10,000 slabs of a list and estimates the rest",
};
inline constexpr KernelWork slabinfo_read = {.id = "slabinfo-read",
                                             .title = "Reading /proc/slabinfo",
                                             .functions = slabinfo_functions,
                                             .files = slabinfo_files,
                                             .doing = "reads the list of slab caches",
                                             .next_steps = slabinfo_steps};

// Reclaim by whoever allocates. kswapd calls none of these (mm/vmscan.c).
inline constexpr std::array<std::string_view, 6> reclaim_functions = {
    "try_to_free_mem_cgroup_pages", "try_to_free_pages", "mem_cgroup_soft_limit_reclaim",
    "memcg1_soft_limit_reclaim",    "node_reclaim",      "mem_cgroup_handle_over_high"};
inline constexpr std::array<std::string_view, 2> reclaim_steps = {
    "give its cgroup a higher memory limit, or let it need less: page cache it reads counts as well",
    "on cgroup v2 let memory.high throttle it before memory.max makes it reclaim; check memory.pressure",
};
inline constexpr KernelWork direct_reclaim = {.id = "direct-reclaim",
                                              .title = "A task reclaimed memory itself",
                                              .functions = reclaim_functions,
                                              .doing = "reclaims memory inside its own allocations",
                                              .next_steps = reclaim_steps,
                                              .add_details = add_reclaiming_cgroup};

// drop_caches, kswapd and the pruning of a file system's caches (mm/shrinker.c, fs/dcache.c, fs/inode.c, fs/drop_caches.c).
inline constexpr std::array<std::string_view, 13> slab_shrink_functions = {
    "drop_slab",        "drop_slab_node",    "drop_caches_sysctl_handler", "drop_pagecache_sb", "do_shrink_slab",
    "shrink_slab",      "shrink_slab_memcg", "shrink_dentry_list",         "prune_dcache_sb",   "prune_icache_sb",
    "super_cache_scan", "shrink_dcache_sb",  "shrink_dcache_parent"};
inline constexpr std::array<std::string_view, 2> slab_shrink_steps = {
    "do not write to /proc/sys/vm/drop_caches from timers or scripts: the kernel frees caches when memory is needed",
    "find who fills the dentry cache, by looking up files that do not exist for one: /proc/sys/fs/dentry-state counts them",
};
inline constexpr KernelWork slab_shrink = {.id = "slab-shrink",
                                           .title = "Kernel caches were shrunk",
                                           .functions = slab_shrink_functions,
                                           .doing = "shrinks the kernel's slab caches",
                                           .next_steps = slab_shrink_steps,
                                           .add_details = add_memcg_counts};

}  // namespace stallscope::diagnose::rules
