// SPDX-License-Identifier: Apache-2.0
#include "lab/faults/napi-thread-starved/fault.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <napi_thread_starved.skel.h>
#include <net/if.h>
#include <sched.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "lab/bpf_programs.h"
#include "lab/culprit.h"
#include "lab/kernel_needs.h"
#include "lab/packet_path.h"
#include "lab/threads.h"
#include "lab/topology.h"

namespace stallscope::lab::napi_thread_starved {
namespace {

using base::Error;
using base::OwnedFd;
using base::Result;
using base::Status;

constexpr const char* device = "n0";
constexpr const char* threaded_path = "/sys/class/net/n0/threaded";

constexpr std::array<Parameter, 2> parameters = {{
    {.name = "length",
     .help = "How long the task keeps the CPU",
     .kind = ParameterKind::duration,
     .default_value = 100 * base::ns_per_ms,
     .minimum = base::ns_per_ms,
     .maximum = longest_length_ns,
     .reason_for_bounds = "For longer the machine itself would suffer."},
    {.name = "fifo-priority",
     .help = "Real-time priority (SCHED_FIFO) of the task, which then computes; 0: an ordinary one, in a system call that kernels "
             "without full "
             "preemption do not interrupt",
     .default_value = 50,
     .minimum = 0,
     .maximum = 98,
     .reason_for_bounds = "99 is the kernel's own."},
}};

constexpr std::array<KernelNeed, 2> needs = {{
    {KernelNeed::Kind::function, "napi_threaded_poll", "Linux 5.12"},
    {KernelNeed::Kind::function, "bpf_loop", "Linux 5.17"},
}};

struct Starver {
  std::shared_ptr<napi_thread_starved_bpf> programs;
  /// The device has NAPI, and the threads, until this is closed.
  OwnedFd link;
  std::int64_t length_ns = 0;
  bool computes = false;

  Starver() = default;
  /// The kernel takes the setting back only while there is something to poll. What a killed process leaves of it means nothing
  /// without that, and goes with the device.
  ~Starver() {
    static_cast<void>(with_own_sysfs([] { return base::write_file(threaded_path, "0"); }));
  }
  Starver(Starver&&) = delete;
  Starver& operator=(Starver&&) = delete;
  Starver(const Starver&) = delete;
  Starver& operator=(const Starver&) = delete;
};

Status make_threads(int cpu) {
  if (Status made = with_own_sysfs([] { return base::write_file(threaded_path, "1"); }); !made) {
    return made;
  }
  // The kernel names them napi/DEVICE-ID (net/core/dev.c, napi_kthread_create).
  const std::vector<pid_t> threads = threads_named_like(fmt::format("napi/{}-", device));
  if (threads.empty()) {
    return Error{"run fault", std::string(fault.id), fmt::format("the kernel made no threads for {}", device), ""};
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<unsigned>(cpu), &cpus);
  for (const pid_t thread : threads) {
    if (::sched_setaffinity(thread, sizeof cpus, &cpus) != 0) {
      return base::errno_error("bind", fmt::format("the NAPI thread {}", thread), errno);
    }
  }
  return base::ok();
}

Result<Turn> starve(const Starver& starver) {
  Stall stall;
  if (starver.computes) {
    stall.start_ns = base::monotonic_ns();
    while (base::monotonic_ns() < stall.start_ns + starver.length_ns) {
    }
    stall.end_ns = base::monotonic_ns();
    return Turn{{stall}};
  }
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  if (const int error = bpf_prog_test_run_opts(bpf_program__fd(starver.programs->progs.hold), &options); error != 0) {
    return program_error(fault, "run", -error);
  }
  stall.start_ns = static_cast<std::int64_t>(starver.programs->bss->started_ns);
  stall.end_ns = static_cast<std::int64_t>(starver.programs->bss->ended_ns);
  return Turn{{stall}};
}

Result<PreparedCulprit> prepare(const RunOptions& options) {
  const auto starver = std::make_shared<Starver>();
  const std::int64_t priority = options.settings.value(parameters[1]);
  starver->length_ns = options.healthy ? 0 : options.settings.value(parameters[0]);
  starver->computes = priority > 0;
  starver->programs = std::shared_ptr<napi_thread_starved_bpf>(napi_thread_starved_bpf::open(), &napi_thread_starved_bpf::destroy);
  if (!starver->programs) {
    return program_error(fault, "open", errno);
  }
  starver->programs->rodata->length_ns = static_cast<__u64>(starver->length_ns);
  if (const int error = napi_thread_starved_bpf::load(starver->programs.get()); error != 0) {
    return program_error(fault, "load", -error);
  }
  if (Status entered = enter_namespace(node_netns); !entered) {
    return entered.error();
  }
  bpf_link_create_opts link_options{};
  link_options.sz = sizeof link_options;
  link_options.flags = XDP_FLAGS_DRV_MODE;
  starver->link = OwnedFd(bpf_link_create(bpf_program__fd(starver->programs->progs.pass),
                                          static_cast<int>(::if_nametoindex(device)), BPF_XDP, &link_options));
  if (!starver->link) {
    return program_error(fault, "attach", errno);
  }
  if (Status made = make_threads(options.cpu); !made) {
    return made.error();
  }
  const sched_param scheduling{.sched_priority = static_cast<int>(priority)};
  if (starver->computes && ::sched_setscheduler(0, SCHED_FIFO, &scheduling) != 0) {
    return base::errno_error("set", "the scheduling policy of the lab's process", errno);
  }
  return PreparedCulprit{[starver] { return starve(*starver); }};
}

Status run(const RunOptions& options, StopSignals& stop, const RunOutput& output) {
  if (Status met = check_kernel_needs(fault.id, needs); !met) {
    return met;
  }
  const bool computes = options.settings.value(parameters[1]) > 0;
  return run_culprit(
      {.fault = fault, .options = options, .comm = "lab-starver", .syscall = computes ? "" : "bpf"},
      [&] { return prepare(options); }, stop, output);
}

}  // namespace

constexpr Fault fault = {
    .id = "napi-thread-starved",
    .summary = "a task keeps the CPU from the threads that poll the node's device (Linux 5.17)",
    .expected_rule = "thread-delay",
    .expected_mode = "napi_thread_delayed",
    .healthy_help = "the same threads, and a task that does nothing",
    .parameters = parameters,
    .settings_for = length_alone,
    .run = run,
    .remove_leftovers = nullptr,
};

}  // namespace stallscope::lab::napi_thread_starved
