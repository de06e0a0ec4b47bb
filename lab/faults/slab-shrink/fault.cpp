// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/slab-shrink/fault.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "lab/culprit.h"
#include "lab/napi_thread.h"
#include "lab/zombie_run.h"
#include "lab/zombies.h"

namespace stallscope::lab::slab_shrink {
namespace {

using base::OwnedFd;
using base::Result;
using base::Status;

constexpr const char* drop_caches = "/proc/sys/vm/drop_caches";

constexpr std::array<Parameter, 2> parameters = {{
    {.name = "zombies",
     .help = "Zombie memory cgroups; each adds about 0.3 us to a stall, of which one write makes several",
     .default_value = 50'000,
     .minimum = 1,
     .maximum = max_zombies_count,
     .reason_for_bounds = "A memory cgroup ID has 16 bits, and the machine needs some of them."},
    {.name = "dentries",
     .help = "Negative dentries made before each stall; they make the write longer, but give up the CPU",
     .default_value = 1'000,
     .minimum = 0,
     .maximum = 1'000'000,
     .reason_for_bounds = "Each takes 192 bytes of kernel memory until it is freed."},
}};

/// Gives the process a /sys of its own: that of a new network namespace, whose dentries are nobody else's and go with it.
Status make_private_sys() {
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) {
    return base::errno_error("mount", "a /sys of its own", errno);
  }
  return base::ok();
}

/// Looks up names that do not exist: the kernel remembers each.
void make_negative_dentries(std::int64_t count) {
  struct stat status {};
  for (std::int64_t i = 0; i < count; ++i) {
    static_cast<void>(::stat(fmt::format("/sys/stallscope-missing-{}", i).c_str(), &status));
  }
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  if (Status made = make_private_sys(); !made) {
    return made.error();
  }
  Result<OwnedFd> file = base::open_file(drop_caches, O_WRONLY);
  if (!file) {
    return file.error();
  }
  const auto control = std::make_shared<OwnedFd>(std::move(*file));
  const std::int64_t dentries_count = options.healthy ? 0 : options.settings.value(parameters[1]);
  return PreparedCulprit{[control, dentries_count]() -> Result<Turn> {
    make_negative_dentries(dentries_count);
    const std::int64_t start_ns = base::monotonic_ns();
    if (::pwrite(control->get(), "2", 1, 0) != 1) {
      return base::errno_error("write to", drop_caches, errno);
    }
    return Turn{{{.start_ns = start_ns, .end_ns = base::monotonic_ns(), .extras = {{"frames_stalls", true}}}}};
  }};
}

Status run_with_thread(const RunOptions& options, const std::optional<std::string>& cgroup_path, StopSignals& stop,
                       const RunOutput& output) {
  Result<NapiThread> thread = NapiThread::on_cpu(options.receive_cpu);
  if (!thread) {
    return thread.error();
  }
  Status ran = run_culprit(
      {.fault = fault,
       .options = options,
       .comm = "lab-dropper",
       .syscall = "pwrite64",
       .file = drop_caches,
       .cgroup_path = cgroup_path},
      [&] { return prepare(options); }, stop, output);
  Status removed = thread->remove();
  return ran ? removed : ran;
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (options.healthy) {
    return run_with_thread(options, std::nullopt, stop, output);
  }
  const auto zombies_count = static_cast<int>(options.settings.value(parameters[0]));
  return with_zombies(zombies_count, stop, output.progress, [&](const ZombiePlaces& places, std::int64_t) {
    return run_with_thread(options, places.hierarchy.reader_cgroup(), stop, output);
  });
}

Result<bool> remove_leftovers(const Progress& progress) {
  const Result<bool> thread = remove_napi_thread();
  if (!thread) {
    return thread.error();
  }
  const Result<bool> zombies = remove_leftover_zombies(progress);
  return zombies ? Result<bool>(*thread || *zombies) : zombies.error();
}

/// About 0.3 us per zombie, so that 18 ms are the longest it gets.
Settings settings_for(std::int64_t length_ns) {
  constexpr std::int64_t per_zombie_ns = 300;
  return {{"zombies", std::min<std::int64_t>(length_ns / per_zombie_ns, max_zombies_count)}};
}

}  // namespace

constexpr Fault fault = {
    .id = "slab-shrink",
    .summary = "drop_caches goes through thousands of memory cgroups while a NAPI thread waits",
    .expected_rule = "slab-shrink",
    .expected_mode = "napi_thread_delayed",
    .healthy_help = "the same writes and the same NAPI thread, without zombies and dentries",
    .parameters = parameters,
    .settings_for = settings_for,
    .run = run,
    .remove_leftovers = remove_leftovers,
};

}  // namespace stallscope::lab::slab_shrink
