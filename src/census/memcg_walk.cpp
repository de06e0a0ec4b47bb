// SPDX-License-Identifier: Apache-2.0
#include "census/memcg_walk.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>

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
constexpr std::int64_t memcg_limit = 4'000'000;
constexpr std::int64_t smallest_file_table = 1'024;
// 72 bytes each in the kernel, so at most 9 MiB.
constexpr std::int64_t largest_file_table = 131'072;

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

Result<Skeleton> load(std::int64_t expected_count, const SectionLimit& section_limit) {
  bpf::capture_library_messages();
  Skeleton skeleton(memcg_tree_bpf::open());
  if (!skeleton) {
    return base::errno_error("open", "the memory cgroup walk", errno);
  }
  skeleton->rodata->node_count = possible_node_count();
  skeleton->rodata->section_limit_memcgs = section_limit.memcg_count;
  skeleton->rodata->section_limit_ns = static_cast<std::uint64_t>(section_limit.length_ns);
  const std::int64_t table = std::clamp(expected_count, smallest_file_table, largest_file_table);
  int status = bpf_map__set_max_entries(skeleton->maps.pinning_files, static_cast<std::uint32_t>(table));
  if (status == 0) {
    status = memcg_tree_bpf::load(skeleton.get());
  }
  if (status != 0) {
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

struct WalkAttempt {
  memcg_walk counts{};
  std::int64_t walk_ns = 0;
  std::int64_t longest_section_ns = 0;
};

Result<WalkAttempt> attempt_walk(const memcg_tree_bpf& skeleton) {
  WalkAttempt attempt;
  memcg_walk& counts = attempt.counts;
  const std::int64_t start_ns = base::monotonic_ns();
  do {
    if (const base::Status status = run(skeleton.progs.walk_memcgs, counts); !status) {
      return status.error();
    }
    attempt.longest_section_ns = std::max(attempt.longest_section_ns, static_cast<std::int64_t>(counts.section_ns));
    if (static_cast<std::int64_t>(counts.live_count + counts.dying_count) > memcg_limit) {
      counts.status = memcg_walk_cursor_lost;
    }
  } while (counts.status == memcg_walk_more);
  attempt.walk_ns = base::monotonic_ns() - start_ns;
  if (counts.status == memcg_walk_no_controller) {
    return Error{"walk", "the memory cgroups", "the memory controller is not in this kernel or is disabled",
                 "Check for cgroup_disable=memory on the kernel's command line."};
  }
  return attempt;
}

template <typename Key, typename Value>
struct Entry {
  Key key;
  Value value;
};

/// Every entry of a hash map that nobody changes any more.
template <typename Key, typename Value>
Result<std::vector<Entry<Key, Value>>> read_map(const bpf_map* map) {
  // Below the size of a hash bucket the kernel refuses a batch with ENOSPC; no bucket of these maps comes near this.
  constexpr std::uint32_t batch_size = 4'096;
  std::vector<Key> keys(batch_size);
  std::vector<Value> values(batch_size);
  std::vector<Entry<Key, Value>> entries;
  std::uint32_t position = 0;
  void* after = nullptr;
  while (true) {
    std::uint32_t count = batch_size;
    const int status = bpf_map_lookup_batch(bpf_map__fd(map), after, &position, keys.data(), values.data(), &count, nullptr);
    if (status != 0 && status != -ENOENT) {
      return base::errno_error("read", bpf_map__name(map), -status);
    }
    for (std::size_t i = 0; i < count; ++i) {
      entries.push_back({keys[i], values[i]});
    }
    if (status == -ENOENT) {
      return entries;
    }
    after = &position;
  }
}

using FileEntry = Entry<pinning_file_key, pinning_file_value>;

evidence::PinningFileRecord describe(const memcg_tree_bpf& skeleton, const FileEntry& file,
                                     const std::vector<host::Mount>& mounts) {
  evidence::PinningFileRecord record;
  record.device = file.key.device;
  record.inode = file.key.inode;
  record.memcg_count = static_cast<std::int64_t>(file.value.memcg_count);
  record.charged_bytes = static_cast<std::int64_t>(file.value.charged_pages) * ::sysconf(_SC_PAGESIZE);
  file_name_request request{file.value.inode_address, file.key.inode, file.key.device, 0};
  auto reply = std::make_unique<file_name_reply>();
  const std::uint32_t zero = 0;
  // A name that cannot be had leaves the path empty; device and inode still say which file it is.
  if (run(skeleton.progs.name_file, request) &&
      bpf_map_lookup_elem(bpf_map__fd(skeleton.maps.file_name), &zero, reply.get()) == 0) {
    reply->filesystem[filesystem_name_bytes - 1] = '\0';
    record.filesystem = &reply->filesystem[0];
    record.path = pinning_file_path(*reply, record.device, mounts);
  }
  return record;
}

base::Status add_files(const memcg_tree_bpf& skeleton, const std::vector<host::Mount>& mounts, MemcgWalk& walk) {
  Result<std::vector<FileEntry>> files = read_map<pinning_file_key, pinning_file_value>(skeleton.maps.pinning_files);
  if (!files) {
    return files.error();
  }
  std::sort(files->begin(), files->end(), [](const FileEntry& left, const FileEntry& right) {
    return left.value.memcg_count != right.value.memcg_count ? left.value.memcg_count > right.value.memcg_count
                                                             : left.key.inode < right.key.inode;
  });
  walk.file_count = static_cast<std::int64_t>(files->size());
  files->resize(std::min(files->size(), named_file_limit));
  for (const FileEntry& file : *files) {
    walk.files.push_back(describe(skeleton, file, mounts));
  }
  return base::ok();
}

}  // namespace

Result<MemcgWalk> walk_memcgs(std::int64_t expected_count, const std::vector<host::Mount>& mounts,
                              const SectionLimit& section_limit) {
  Skeleton skeleton;
  WalkAttempt attempt;
  for (int i = 0; i < walk_attempts; ++i) {
    // Loaded anew for each attempt: that empties the maps.
    Result<Skeleton> loaded = load(expected_count, section_limit);
    if (!loaded) {
      return loaded.error();
    }
    skeleton = std::move(*loaded);
    Result<WalkAttempt> walked = attempt_walk(*skeleton);
    if (!walked) {
      return walked.error();
    }
    attempt = *walked;
    if (attempt.counts.status == memcg_walk_done) {
      break;
    }
  }
  const memcg_walk& counts = attempt.counts;
  MemcgWalk walk;
  walk.live_count = static_cast<std::int64_t>(counts.live_count);
  walk.dying_count = static_cast<std::int64_t>(counts.dying_count);
  walk.dying_charged_bytes = static_cast<std::int64_t>(counts.dying_charged_pages) * ::sysconf(_SC_PAGESIZE);
  walk.approximate = counts.status != memcg_walk_done;
  walk.walk_ns = attempt.walk_ns;
  walk.longest_section_ns = attempt.longest_section_ns;
  walk.without_page_count = static_cast<std::int64_t>(counts.without_page_count);
  walk.anonymous_only_count = static_cast<std::int64_t>(counts.anonymous_only_count);
  walk.untracked_count = static_cast<std::int64_t>(counts.untracked_count);
  if (const base::Status status = add_files(*skeleton, mounts, walk); !status) {
    return status.error();
  }
  const auto parents = read_map<std::uint64_t, std::uint64_t>(skeleton->maps.dying_below);
  if (!parents) {
    return parents.error();
  }
  for (const auto& parent : *parents) {
    walk.dying_below.emplace(parent.key, static_cast<std::int64_t>(parent.value));
  }
  return walk;
}

}  // namespace stallscope::census
