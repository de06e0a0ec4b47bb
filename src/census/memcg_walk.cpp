// SPDX-License-Identifier: Apache-2.0
#include "census/memcg_walk.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "base/files.h"
#include "bpf/load.h"
#include "bpf/skeleton.h"
#include "census/file_name.h"
#include "census/memcg_tree_record.h"
#include "memcg_tree.skel.h"

namespace stallscope::census {
namespace {

using base::Error;
using base::Result;

// A restart costs a whole walk; a tree that changes under four of them changes under the fifth.
constexpr int walk_attempts = 4;
// Far above any machine's count: ends a walk that a damaged list sent round in circles.
constexpr std::size_t memcg_limit = 4'000'000;
constexpr std::uint64_t inode_limit = 20'000'000;

using Skeleton = bpf::Skeleton<memcg_tree_bpf, &memcg_tree_bpf::destroy>;

Error load_error(int error) {
  const auto because = [](std::string reason, std::string hint) {
    return Error{"walk", "the memory cgroups", std::move(reason), std::move(hint)};
  };
  // The verifier refuses a program with EACCES, which has nothing to do with privileges.
  if (error == EPERM) {
    return because("loading BPF programs is not permitted", "Run as root, or with CAP_BPF and CAP_PERFMON.");
  }
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
    return because("this kernel has no BTF (/sys/kernel/btf/vmlinux)", "Use a kernel with CONFIG_DEBUG_INFO_BTF=y.");
  }
  if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SYSCALL, nullptr) == 0) {
    return because("this kernel has no syscall BPF programs", "They came with Linux 5.14.");
  }
  // Every program type has bpf_loop where any has; libbpf can only probe helpers of types that need no BTF target.
  if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_TRACEPOINT, BPF_FUNC_loop, nullptr) == 0) {
    return because("this kernel has no bpf_loop", "It came with Linux 5.17.");
  }
  Error unexpected = base::errno_error("load", "the memory cgroup walk", error);
  unexpected.reason += " (" + bpf::last_messages() + ")";
  return unexpected;
}

/// "0-3" or "0,2-5": highest number plus one, which is how many nodes a memory cgroup has entries for.
std::uint32_t possible_node_count() {
  const Result<std::string> possible = base::read_file("/sys/devices/system/node/possible");
  if (!possible) {
    return 1;
  }
  const std::size_t last_number = possible->find_last_of(",-");
  const std::string highest = last_number == std::string::npos ? *possible : possible->substr(last_number + 1);
  return static_cast<std::uint32_t>(std::strtoul(highest.c_str(), nullptr, 10)) + 1;
}

Result<Skeleton> load(const SectionLimit& section_limit) {
  bpf::capture_library_messages();
  Skeleton skeleton(memcg_tree_bpf::open());
  if (!skeleton) {
    return base::errno_error("open", "the memory cgroup walk", errno);
  }
  skeleton->rodata->node_count = possible_node_count();
  skeleton->rodata->section_limit_memcgs = section_limit.memcg_count;
  skeleton->rodata->section_limit_ns = static_cast<std::uint64_t>(section_limit.length_ns);
  if (const int status = memcg_tree_bpf::load(skeleton.get()); status != 0) {
    return load_error(-status);
  }
  return skeleton;
}

template <typename Context>
base::Status run(const bpf_program* program, Context& context) {
  // LIBBPF_OPTS would be shorter, but is not C++.
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  options.ctx_in = &context;
  options.ctx_size_in = sizeof(context);
  const int status = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
  if (status != 0) {
    return base::errno_error("run", bpf_program__name(program), -status);
  }
  return base::ok();
}

struct Progress {
  bool complete = false;
  std::int64_t longest_section_ns = 0;
};

/// One walk from the root, a section at a time: between two the CPU is free for others.
base::Status attempt_walk(const memcg_tree_bpf& skeleton, MemcgTableBuilder& builder, Progress& progress) {
  memcg_walk walk{};
  do {
    if (const base::Status status = run(skeleton.progs.walk_memcgs, walk); !status) {
      return status.error();
    }
    progress.longest_section_ns = std::max(progress.longest_section_ns, static_cast<std::int64_t>(walk.section_ns));
    builder.add(std::span(&skeleton.bss->memcg_rows[0], std::min<std::size_t>(walk.row_count, memcg_row_capacity)));
    if (builder.table().memcgs.size() > memcg_limit) {
      walk.status = memcg_walk_cursor_lost;
    }
  } while (walk.status == memcg_walk_more);
  if (walk.status == memcg_walk_no_controller) {
    return Error{"walk", "the memory cgroups", "the memory controller is not in this kernel or is disabled",
                 "Check for cgroup_disable=memory on the kernel's command line."};
  }
  progress.complete = walk.status == memcg_walk_done;
  return base::ok();
}

void set_name(file_name_reply& reply, const std::vector<host::Mount>& mounts, PinningFile& file) {
  reply.filesystem[filesystem_name_bytes - 1] = '\0';
  file.filesystem = &reply.filesystem[0];
  if (!file.filesystem.empty()) {
    file.cached_bytes = static_cast<std::int64_t>(reply.cached_pages) * ::sysconf(_SC_PAGESIZE);
    file.path = pinning_file_path(reply, file.device, mounts);
  }
}

/// A name that cannot be had leaves the path empty; device and inode still say which file it is.
base::Status name_files(const memcg_tree_bpf& skeleton, const std::vector<host::Mount>& mounts, std::span<PinningFile> files,
                        Progress& progress) {
  for (std::size_t first = 0; first < files.size(); first += file_name_batch) {
    const std::span<PinningFile> batch = files.subspan(first, std::min<std::size_t>(file_name_batch, files.size() - first));
    for (std::size_t i = 0; i < batch.size(); ++i) {
      skeleton.bss->name_requests[i] = {batch[i].inode_address, batch[i].inode, batch[i].device, 0};
    }
    file_naming naming{0, static_cast<std::uint32_t>(batch.size()), 0};
    for (std::uint32_t before = 0; naming.next < naming.count; before = naming.next) {
      if (const base::Status status = run(skeleton.progs.name_files, naming); !status) {
        return status.error();
      }
      progress.longest_section_ns = std::max(progress.longest_section_ns, static_cast<std::int64_t>(naming.section_ns));
      if (naming.next == before) {
        return Error{"name", "the pinning files", "the program makes no progress", ""};
      }
    }
    for (std::size_t i = 0; i < batch.size(); ++i) {
      set_name(skeleton.bss->name_replies[i], mounts, batch[i]);
    }
  }
  return base::ok();
}

/// Looks at all inodes in memory, and keeps the largest.
base::Status attempt_file_walk(const memcg_tree_bpf& skeleton, std::size_t limit, std::vector<PinningFile>& largest,
                               Progress& progress) {
  const std::int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  const auto larger = [](const PinningFile& left, const PinningFile& right) { return left.cached_bytes > right.cached_bytes; };
  file_walk walk{};
  walk.least_pages = 1;
  largest.clear();
  do {
    if (const base::Status status = run(skeleton.progs.walk_files, walk); !status) {
      return status.error();
    }
    progress.longest_section_ns = std::max(progress.longest_section_ns, static_cast<std::int64_t>(walk.section_ns));
    for (const cached_file_row& row :
         std::span(&skeleton.bss->cached_file_rows[0], std::min<std::size_t>(walk.row_count, cached_file_capacity))) {
      PinningFile file;
      file.inode_address = row.inode_address;
      file.inode = row.inode;
      file.device = row.device;
      file.cached_bytes = static_cast<std::int64_t>(row.pages) * page_bytes;
      largest.push_back(std::move(file));
    }
    if (largest.size() >= limit) {
      std::sort(largest.begin(), largest.end(), larger);
      largest.resize(limit);
      // What is smaller than these need not leave the kernel.
      walk.least_pages = static_cast<std::uint64_t>(largest.back().cached_bytes / page_bytes) + 1;
    }
    if (walk.inode_count > inode_limit) {
      walk.status = memcg_walk_cursor_lost;
    }
  } while (walk.status == memcg_walk_more);
  std::sort(largest.begin(), largest.end(), larger);
  progress.complete = walk.status == memcg_walk_done;
  return base::ok();
}

base::Status find_cached_files(const memcg_tree_bpf& skeleton, const std::vector<host::Mount>& mounts, std::size_t limit,
                               MemcgWalk& walk, Progress& progress) {
  progress.complete = limit == 0;
  for (int i = 0; i < walk_attempts && !progress.complete; ++i) {
    if (const base::Status walked = attempt_file_walk(skeleton, limit, walk.cached_files, progress); !walked) {
      return walked.error();
    }
  }
  walk.cached_files_approximate = !progress.complete;
  if (const base::Status named = name_files(skeleton, mounts, walk.cached_files, progress); !named) {
    return named.error();
  }
  for (PinningFile& file : walk.cached_files) {
    const auto pins = std::find_if(walk.table.files.begin(), walk.table.files.end(), [&](const PinningFile& pinning) {
      return pinning.inode == file.inode && pinning.device == file.device;
    });
    file.memcg_count = pins == walk.table.files.end() ? 0 : pins->memcg_count;
  }
  return base::ok();
}

/// Most pinned memory cgroups first; the indices of the memory cgroups follow.
void rank_files(MemcgTable& table) {
  std::vector<std::int32_t> order(table.files.size());
  std::iota(order.begin(), order.end(), 0);
  const auto file = [&](std::int32_t index) -> const PinningFile& { return table.files[static_cast<std::size_t>(index)]; };
  std::sort(order.begin(), order.end(), [&](std::int32_t left, std::int32_t right) {
    return std::make_tuple(-file(left).memcg_count, file(left).inode) <
           std::make_tuple(-file(right).memcg_count, file(right).inode);
  });
  std::vector<PinningFile> ranked;
  ranked.reserve(order.size());
  std::vector<std::int32_t> rank_of(order.size());
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    rank_of[static_cast<std::size_t>(order[rank])] = static_cast<std::int32_t>(rank);
    ranked.push_back(std::move(table.files[static_cast<std::size_t>(order[rank])]));
  }
  table.files = std::move(ranked);
  for (Memcg& memcg : table.memcgs) {
    memcg.file = memcg.file < 0 ? -1 : rank_of[static_cast<std::size_t>(memcg.file)];
  }
}

evidence::PinningFileRecord record_of(const PinningFile& file) {
  return {file.path, file.filesystem, file.device, file.inode, file.memcg_count, file.charged_bytes};
}

void count(MemcgWalk& walk) {
  for (const Memcg& memcg : walk.table.memcgs) {
    ++(memcg.live ? walk.live_count : walk.dying_count);
    if (memcg.live && memcg.dying_below > 0) {
      walk.dying_below.emplace(memcg.id, memcg.dying_below);
    }
    if (!memcg.live && memcg.file < 0) {
      ++(memcg.pin == MemcgPin::anonymous ? walk.anonymous_only_count : walk.without_page_count);
    }
  }
  walk.dying_charged_bytes = total_charges(walk.table, false).memory_bytes;
  walk.file_count = static_cast<std::int64_t>(walk.table.files.size());
  for (std::size_t i = 0; i < std::min(walk.table.files.size(), named_file_limit); ++i) {
    walk.files.push_back(record_of(walk.table.files[i]));
  }
}

}  // namespace

Result<MemcgWalk> walk_memcgs(const std::vector<host::Mount>& mounts, const WalkOptions& options) {
  const Result<Skeleton> skeleton = load(options.section_limit);
  if (!skeleton) {
    return skeleton.error();
  }
  const std::int64_t start_ns = base::monotonic_ns();
  MemcgTableBuilder builder(::sysconf(_SC_PAGESIZE));
  Progress progress;
  for (int i = 0; i < walk_attempts && !progress.complete; ++i) {
    builder.clear();
    builder.reserve(static_cast<std::size_t>(std::clamp<std::int64_t>(options.expected_count, 0, memcg_id_limit * 2)));
    if (const base::Status walked = attempt_walk(**skeleton, builder, progress); !walked) {
      return walked.error();
    }
  }
  MemcgWalk walk;
  walk.table = builder.finish();
  rank_files(walk.table);
  const std::size_t named_count = std::min(walk.table.files.size(), options.name_limit);
  if (const base::Status named = name_files(**skeleton, mounts, std::span(walk.table.files).first(named_count), progress); !named) {
    return named.error();
  }
  settle_pins(walk.table);
  walk.approximate = !progress.complete;
  if (const base::Status found = find_cached_files(**skeleton, mounts, options.cached_file_limit, walk, progress); !found) {
    return found.error();
  }
  walk.walk_ns = base::monotonic_ns() - start_ns;
  walk.longest_section_ns = progress.longest_section_ns;
  count(walk);
  return walk;
}

}  // namespace stallscope::census
