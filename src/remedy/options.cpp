// SPDX-License-Identifier: Apache-2.0
#include "remedy/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "remedy/kernel_fixes.h"

namespace stallscope::remedy {
namespace {

constexpr std::string_view check_with_compare =
    "sudo stallscope diagnose --for 20s --out after.stall; stallscope compare BEFORE.stall after.stall";
constexpr std::string_view measured = "measured, docs/remedies.md";

std::string every(std::int64_t interval_ns) {
  return interval_ns > 0 ? fmt::format("about every {}", base::format_duration(interval_ns)) : std::string("now and then");
}

}  // namespace

Option stop_reader(const Reader& reader) {
  Option option;
  option.id = "stop-reader";
  option.title =
      fmt::format("stop {} (pid {}) for a while: it stalls packets {}", reader.comm, reader.pid, every(reader.interval_ns));
  option.risk = Risk::medium;
  option.risk_reason = "what it does besides reading statistics stands still, too; a supervisor may restart it";
  option.commands = {fmt::format("stallscope remedy apply stop-reader --pid {} --for 10m --go", reader.pid)};
  option.effect = "its stalls end at once; those of other readers and of the kernel's own flush do not";
  option.basis = measured;
  option.undo = fmt::format("kill -CONT {} (the command does it when it ends)", reader.pid);
  option.check = check_with_compare;
  option.applicable = true;
  return option;
}

Option slow_reader(const Reader& reader) {
  Option option;
  option.id = "slow-reader";
  option.title =
      fmt::format("let {} read {} less often: it stalls packets {}", reader.comm, reader.file, every(reader.interval_ns));
  option.risk = Risk::low;
  option.risk_reason = "its figures get older; nothing else changes";
  option.commands = {"kubelet: --housekeeping-interval=60s",
                     "cadvisor: --housekeeping_interval=60s --disable_metrics=referenced_memory",
                     fmt::format("else: find its setting with: tr '\\0' ' ' </proc/{}/cmdline", reader.pid)};
  option.effect = "stalls get rarer in proportion; each may get longer, because more is pending at each read";
  option.basis = "used after 2019 (google/cadvisor 1774)";
  option.undo = "the old interval";
  option.check = check_with_compare;
  return option;
}

Option release_file(const evidence::PinningFileRecord& file) {
  Option option;
  const std::string quoted = shell_quoted(file.path);
  const std::string freed = fmt::format("frees the {} zombies it pins", base::format_count(file.memcg_count));
  option.applicable = true;
  option.basis = measured;
  option.check = "sudo stallscope census";
  if (file.filesystem == "tmpfs") {
    option.id = "punch-file";
    option.title = fmt::format("give up the content of {}, a little at a time", file.path);
    option.risk = Risk::high;
    option.risk_reason = "what is in the file is lost: only where nothing needs it";
    option.commands = {fmt::format("stallscope remedy apply punch-file --file {} --go", quoted)};
    option.effect = freed + "; deleted at once, the file stalls packets for about 100 ms, again and again";
    option.undo = "none: copy the file first (the copy's pages are charged to whoever copies)";
    return option;
  }
  option.id = "drop-file-cache";
  option.title = fmt::format("drop the page cache of {}, a little at a time", file.path);
  option.risk = Risk::low;
  option.risk_reason = "whoever reads the file next reads it from the disk; pages that are mapped or dirty stay";
  option.commands = {fmt::format("stallscope remedy apply drop-file-cache --file {} --go", quoted)};
  option.effect = freed;
  option.undo = "none needed: the file is unchanged";
  return option;
}

Option reclaim_from_ancestor(std::int32_t cgroup_version) {
  Option option;
  option.id = "reclaim";
  option.title = "reclaim page cache from the live cgroup above the dying ones";
  option.risk = Risk::medium;
  option.risk_reason = "takes page cache of everything below that cgroup, of what lives there too";
  option.commands = {"stallscope remedy apply reclaim --cgroup CGROUP --go", cgroup_version == 2
                                                                                 ? "by hand: echo 16M > CGROUP/memory.reclaim"
                                                                                 : "by hand: echo 0 > CGROUP/memory.force_empty"};
  option.effect = "frees zombies pinned by clean pages; without swap none pinned by files in memory (tmpfs)";
  option.basis = cgroup_version == 2 ? "memory.reclaim: Linux 5.19" : "Documentation/admin-guide/cgroup-v1/memory.rst";
  option.undo = "none needed: page cache comes back when files are read";
  option.check = "sudo stallscope census";
  option.applicable = true;
  return option;
}

Option reclaim_before_removal(std::int32_t cgroup_version) {
  Option option;
  option.id = "reclaim-before-removal";
  option.title = "let whoever removes cgroups empty each of them first";
  option.risk = Risk::low;
  option.risk_reason = "removing a cgroup takes longer";
  option.commands = {cgroup_version == 2 ? "before rmdir: echo 1G > CGROUP/memory.reclaim (EAGAIN: less than that was there)"
                                         : "before rmdir: echo 0 > CGROUP/memory.force_empty"};
  option.effect = "no new zombies from clean page cache; those that are dying already have no path by which they could be emptied";
  option.basis = "Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst";
  option.undo = "leave it out again";
  option.check = "sudo stallscope census --watch 10s";
  return option;
}

Option drop_caches(bool pinned_by_memory) {
  Option option;
  option.id = "drop-caches";
  option.title = "drop all page cache and slab caches of the machine (last resort)";
  option.risk = Risk::high;
  option.risk_reason =
      "stalls packets itself: 22 to 135 ms with 60,000 zombies, and with about 10,000 it once never finished; every file is read "
      "from the disk again";
  option.commands = {"stallscope remedy apply drop-caches --accept-stall --go"};
  option.effect = pinned_by_memory ? "none of the zombies that files in memory (tmpfs) pin"
                                   : "frees zombies pinned by clean pages and, before 5.3, by slab";
  option.basis = "measured; used after 2019; lore.kernel.org 20200909152047.27905-1";
  option.undo = "none needed; caches fill again";
  option.check = check_with_compare;
  option.applicable = true;
  return option;
}

Option drain_node() {
  Option option;
  option.id = "drain-node";
  option.title = "move the work elsewhere and restart the node";
  option.risk = Risk::high;
  option.risk_reason = "the node is out of service";
  option.commands = {"kubectl drain NODE --ignore-daemonsets --delete-emptydir-data", "systemctl reboot", "kubectl uncordon NODE"};
  option.effect = "all zombies go; they come back at the rate at which cgroups are made and removed";
  option.basis = "used after 2019";
  option.undo = "kubectl uncordon NODE";
  option.check = check_with_compare;
  return option;
}

std::optional<Option> newer_kernel(const std::string& rule_id, const std::string& release) {
  std::vector<KernelFix> fixes = fixes_after(rule_id, release);
  if (rule_id == "memcg-stat-flush" || rule_id == "zombie-release") {
    const std::vector<KernelFix> zombies = fixes_after("zombies", release);
    fixes.insert(fixes.end(), zombies.begin(), zombies.end());
  }
  if (fixes.empty()) {
    return std::nullopt;
  }
  Option option;
  option.id = "newer-kernel";
  option.title = fmt::format("a newer kernel than {}", release);
  option.risk = Risk::medium;
  option.risk_reason = "a restart, and whatever else changes with a kernel";
  for (const KernelFix& fix : fixes) {
    option.commands.push_back(fmt::format("Linux {}.{}: {}{}", fix.major, fix.minor, fix.what,
                                          fix.commit.empty() ? "" : fmt::format(" ({})", fix.commit)));
  }
  option.effect = "removes the cause rather than its occasion";
  option.basis = "docs/kernels.md; distributions backport, so ask yours";
  option.undo = "boot the old one";
  option.check = check_with_compare;
  return option;
}

Option move_receive_off_cpu(std::int32_t cpu, std::int32_t cpu_count, const std::string& device) {
  constexpr std::int32_t mask_bits = 32;
  Option option;
  option.id = "move-receive";
  option.title = fmt::format("receive on other CPUs than {}", cpu);
  option.risk = Risk::low;
  option.risk_reason = "costs a message between CPUs for each batch; whatever stalls may move there, too";
  const std::string dev = device.empty() ? std::string("DEVICE") : shell_quoted(device);
  if (cpu_count <= mask_bits && cpu >= 0 && cpu < cpu_count) {
    const std::uint64_t all = (1ULL << static_cast<unsigned>(cpu_count)) - 1;
    const std::uint64_t mask = all & ~(1ULL << static_cast<unsigned>(cpu));
    option.commands = {fmt::format("grep . /sys/class/net/{}/queues/rx-*/rps_cpus    # note what is there", dev),
                       fmt::format("for q in /sys/class/net/{}/queues/rx-*/rps_cpus; do echo {:x} > $q; done", dev, mask)};
  } else {
    option.commands = {fmt::format("write a mask without CPU {} to /sys/class/net/{}/queues/rx-*/rps_cpus", cpu, dev)};
  }
  option.commands.push_back(fmt::format(
      "of a network card, its interrupts: echo LIST > /proc/irq/N/smp_affinity_list (N: grep {} /proc/interrupts)", dev));
  option.effect = fmt::format("stalls of CPU {} no longer hold packets of {}; RPS still needs the CPU that takes the interrupt",
                              cpu, device.empty() ? "the device" : device);
  option.basis = "Documentation/networking/scaling.rst; measured in the lab: only flows that hash to the stalled CPU are late";
  option.undo = "write back what was there";
  option.check = check_with_compare;
  return option;
}

Option raise_napi_budget() {
  Option option;
  option.id = "napi-budget";
  option.title = "let NET_RX take more packets before it yields";
  option.risk = Risk::medium;
  option.risk_reason = "tasks on that CPU wait longer";
  option.commands = {"sysctl net.core.netdev_budget net.core.netdev_budget_usecs    # note what is there",
                     "sysctl -w net.core.netdev_budget=600 net.core.netdev_budget_usecs=8000"};
  option.effect = "fewer ends of a run with packets left (time_squeeze); no more than one CPU can process";
  option.basis = "net/core/dev.c: 300 packets or two jiffies";
  option.undo = "sysctl -w with the old values";
  option.check = "the third column of /proc/net/softnet_stat stands still";
  return option;
}

Option lengthen_backlog() {
  Option option;
  option.id = "longer-backlog";
  option.title = "let more packets wait for a CPU";
  option.risk = Risk::medium;
  option.risk_reason = "with a sender that is faster for good, loss becomes waiting, and each packet takes memory";
  option.commands = {"sysctl net.core.netdev_max_backlog    # note what is there", "sysctl -w net.core.netdev_max_backlog=10000"};
  option.effect = "bursts up to that length are no longer dropped";
  option.basis = "net/core/dev.c, enqueue_to_backlog; docs/rules/backlog-drops.md";
  option.undo = "sysctl -w with the old value";
  option.check = "the second column of /proc/net/softnet_stat stands still";
  return option;
}

Option thread_napi(const std::string& device) {
  Option option;
  option.id = "threaded-napi";
  option.title = "poll in kernel threads, which can move to another CPU and have a priority";
  option.risk = Risk::medium;
  option.risk_reason = "more latency at low load";
  const std::string dev = device.empty() ? std::string("DEVICE") : shell_quoted(device);
  option.commands = {fmt::format("echo 1 > /sys/class/net/{}/threaded", dev)};
  option.effect = "softirqs of other kinds no longer delay reception on that device; a task that keeps its CPU still does";
  option.basis = "Linux 5.12, commit 29863d41bb6e";
  option.undo = fmt::format("echo 0 > /sys/class/net/{}/threaded", dev);
  option.check = check_with_compare;
  return option;
}

}  // namespace stallscope::remedy
