// SPDX-License-Identifier: Apache-2.0
#include "host/rss.h"

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <net/if.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <map>
#include <utility>

#include "base/text.h"
#include "host/ethtool.h"
#include "host/kernel.h"
#include "host/numbers.h"
#include "host/private_mounts.h"

namespace stallscope::host {
namespace {

using rss::PacketKind;
using rss::ReceiveQueues;

constexpr int mask_base = 16;
/// More queues than any device has: a file tree is not ours.
constexpr std::int32_t most_queues = 4096;

// RXH_XFRM_*: Linux 6.8 and 6.15, newer than the headers of Debian 12.
constexpr std::uint32_t transform_symmetric_xor = 1U << 0U;
constexpr std::uint32_t transform_symmetric_or_xor = 1U << 1U;

constexpr std::array<std::pair<PacketKind, std::uint32_t>, rss::all_packet_kinds.size()> flow_types = {
    {{PacketKind::tcp4, TCP_V4_FLOW},
     {PacketKind::udp4, UDP_V4_FLOW},
     {PacketKind::other4, IPV4_FLOW},
     {PacketKind::tcp6, TCP_V6_FLOW},
     {PacketKind::udp6, UDP_V6_FLOW},
     {PacketKind::other6, IPV6_FLOW}}};

std::uint64_t inode_of(const char* path) {
  struct stat status {};
  return ::stat(path, &status) == 0 ? status.st_ino : 0;
}

void read_rps(const std::string& device, const FileTree& files, ReceiveQueues& queues) {
  for (std::int32_t queue = 0; queue < most_queues; ++queue) {
    const std::string path = fmt::format("/sys/class/net/{}/queues/rx-{}", device, queue);
    if (files.exists(path) != true) {
      break;
    }
    rss::QueueCpus cpus;
    cpus.queue = queue;
    // A kernel without CONFIG_RPS has no such file: then RPS is off for certain.
    if (const auto mask = files.read_line(path + "/rps_cpus")) {
      cpus.rps_cpus = parse_cpu_mask(*mask);
    } else if (files.exists(path + "/rps_cpus") == false) {
      cpus.rps_cpus.emplace();
    }
    queues.queues.push_back(std::move(cpus));
  }
}

/// "0000:3b:00.0", "virtio2": the last part of where the link `device` leads.
std::string bus_name_of(const std::string& device, const FileTree& files) {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(files.path("/sys/class/net/" + device + "/device"), error);
  return error ? std::string{} : target.filename().string();
}

void read_interrupts(const std::string& device, const FileTree& files, ReceiveQueues& queues) {
  const std::string bus_name = bus_name_of(device, files);
  const base::Result<std::string> text = files.read("/proc/interrupts");
  if (bus_name.empty() || !text) {
    return;
  }
  std::map<std::int32_t, std::int32_t> irq_of;
  for (const std::string_view line : base::split(*text, '\n')) {
    // "  38:  0  1837  PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0"
    const auto fields = base::split_fields(line);
    if (fields.size() < 2 || !fields.front().ends_with(':')) {
      continue;
    }
    const auto irq = parse_number<std::int32_t>(fields.front().substr(0, fields.front().size() - 1));
    const auto queue = queue_of_interrupt(fields.back(), device, bus_name);
    if (irq && queue) {
      irq_of.emplace(*queue, *irq);
    }
  }
  for (rss::QueueCpus& queue : queues.queues) {
    const auto irq = irq_of.find(queue.queue);
    if (irq == irq_of.end()) {
      continue;
    }
    queue.irq = irq->second;
    const std::string directory = fmt::format("/proc/irq/{}/", irq->second);
    // Where it goes (Linux 4.13) rather than where it may go.
    auto cpus = files.read_line(directory + "effective_affinity_list");
    cpus = cpus ? std::move(cpus) : files.read_line(directory + "smp_affinity_list");
    queue.irq_cpus = parse_cpu_list(cpus.value_or(""));
  }
}

void read_files(const std::string& device, const FileTree& files, ReceiveQueues& queues) {
  read_rps(device, files, queues);
  read_interrupts(device, files, queues);
}

/// sysfs shows the devices of the namespace it was mounted in, whoever looks: that of this thread is mounted where nobody sees it.
void read_own_files(const std::string& device, ReceiveQueues& queues) {
  const base::Status read = in_private_mounts([&]() -> base::Status {
    if (::mount("sysfs", "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
      return base::errno_error("mount", "sysfs of the network namespace", errno);
    }
    read_files(device, FileTree(), queues);
    return base::ok();
  });
  if (read) {
    return;
  }
  if (inode_of("/proc/thread-self/ns/net") == inode_of("/proc/self/ns/net")) {
    read_files(device, FileTree(), queues);
  } else {
    queues.notes.push_back("The RPS masks are not known: " + read.error().message() + ".");
  }
}

void read_transform(const std::optional<std::uint32_t>& transform, ReceiveQueues& queues) {
  if (!transform || *transform == 0) {
    queues.transform = rss::InputTransform::none;
    if (queues.driver == "mlx5_core" && !transform) {
      queues.notes.emplace_back(
          "mlx5 hashes symmetrically unless told otherwise, which kernels before 6.15 cannot tell: predictions may be wrong.");
    }
  } else if (*transform == transform_symmetric_xor) {
    queues.transform = rss::InputTransform::symmetric_xor;
  } else if (*transform == transform_symmetric_or_xor) {
    queues.transform = rss::InputTransform::symmetric_or_xor;
  } else {
    queues.notes.push_back(
        fmt::format("Its input transform ({:#x}) is not known here, so queues cannot be predicted.", *transform));
    queues.key.clear();
  }
}

void ask_ethtool(const Ethtool& ethtool, ReceiveQueues& queues) {
  if (base::Result<std::string> driver = ethtool.driver()) {
    queues.driver = *std::move(driver);
  }
  if (const base::Result<std::int32_t> rings = ethtool.ring_count()) {
    queues.queue_count = *rings;
  }
  if (const base::Result<std::int64_t> rules = ethtool.steering_rule_count()) {
    queues.steering_rule_count = *rules;
    if (*rules > 0) {
      queues.notes.push_back(fmt::format("{} steering rules may send packets to other queues than the table does.", *rules));
    }
  }
  if (base::Result<RssReply> hash = ethtool.receive_hash()) {
    queues.key = std::move(hash->key);
    queues.table = std::move(hash->table);
    queues.hash_function = hash->hash_function;
    read_transform(hash->input_transform, queues);
  }
  for (const auto& [kind, flow_type] : flow_types) {
    if (const base::Result<std::uint64_t> fields = ethtool.hashed_fields(flow_type)) {
      queues.fields[static_cast<std::size_t>(kind)] = *fields;
    } else if ((kind == PacketKind::other4 || kind == PacketKind::other6) && queues.fields_of(PacketKind::tcp4)) {
      // Of what is neither TCP nor UDP cards hash addresses only, whether or not their driver can be asked.
      queues.fields[static_cast<std::size_t>(kind)] = rss::fields_addresses;
    }
  }
}

void note_what_is_missing(ReceiveQueues& queues) {
  if (queues.queue_count == 0) {
    queues.queue_count = static_cast<std::int32_t>(queues.queues.size());
  }
  const bool rps = std::any_of(queues.queues.begin(), queues.queues.end(),
                               [](const rss::QueueCpus& queue) { return queue.rps_cpus && !queue.rps_cpus->empty(); });
  if (queues.key.empty()) {
    queues.notes.emplace_back(queues.queue_count > 1 || rps
                                  ? "It has no hash key that can be read: which flow uses which queue must be observed."
                                  : "It has one receive queue and no hash key.");
  }
  if (rps) {
    queues.notes.emplace_back(queues.key.empty()
                                  ? "RPS spreads packets by a hash whose key the kernel keeps secret: CPUs cannot be predicted."
                                  : "RPS moves packets on to other CPUs than the interrupt's.");
  }
}

/// The number at the end of `text`, after `prefix`.
std::optional<std::int32_t> number_after(std::string_view text, std::string_view prefix) {
  const std::size_t at = text.rfind(prefix);
  return at == std::string_view::npos ? std::nullopt : parse_number<std::int32_t>(text.substr(at + prefix.size()));
}

}  // namespace

std::optional<std::vector<std::int32_t>> parse_cpu_mask(std::string_view text) {
  constexpr std::int32_t word_bits = 32;
  std::vector<std::int32_t> cpus;
  const auto words = base::split(text, ',');
  std::int32_t first = 0;
  // The lowest CPUs are in the last word.
  for (auto word = words.rbegin(); word != words.rend(); ++word, first += word_bits) {
    const auto bits = parse_number<std::uint32_t>(*word, mask_base);
    if (!bits) {
      return std::nullopt;
    }
    for (std::int32_t bit = 0; bit < word_bits; ++bit) {
      if ((*bits >> static_cast<std::uint32_t>(bit) & 1U) != 0) {
        cpus.push_back(first + bit);
      }
    }
  }
  return cpus;
}

std::optional<std::int32_t> queue_of_interrupt(std::string_view name, std::string_view device, std::string_view bus_name) {
  if (name == fmt::format("{}-input.{}", bus_name, name.substr(name.rfind('.') + 1))) {
    return number_after(name, "-input.");
  }
  if (const std::size_t at = name.find("@pci:"); at != std::string_view::npos) {
    return name.substr(at + 5) == bus_name && name.starts_with("mlx5_comp") ? number_after(name.substr(0, at), "mlx5_comp")
                                                                            : std::nullopt;
  }
  const std::size_t at = name.find(device);
  if (at == std::string_view::npos || (at > 0 && name[at - 1] != '-')) {
    return std::nullopt;
  }
  const std::string_view rest = name.substr(at + device.size());
  for (const std::string_view kind : {"-TxRx-", "-Tx-Rx-", "-rx-", "-Rx-", "-fp-"}) {
    if (rest.starts_with(kind)) {
      return parse_number<std::int32_t>(rest.substr(kind.size()));
    }
  }
  return std::nullopt;
}

base::Result<ReceiveQueues> read_receive_queues(const std::string& device, const FileTree& files) {
  ReceiveQueues queues;
  queues.device = device;
  if (!files.is_live()) {
    if (files.exists("/sys/class/net/" + device) != true) {
      return base::Error{"find", files.path("/sys/class/net/" + device), "there is no such network device", ""};
    }
    read_files(device, files, queues);
    queues.notes.emplace_back("Read from files: key and table are known only to a running kernel.");
    queues.queue_count = static_cast<std::int32_t>(queues.queues.size());
    return queues;
  }
  const base::Result<Ethtool> ethtool = Ethtool::open(device);
  if (!ethtool) {
    return ethtool.error();
  }
  queues.netns_inode = inode_of("/proc/thread-self/ns/net");
  ask_ethtool(*ethtool, queues);
  read_own_files(device, queues);
  note_what_is_missing(queues);
  return queues;
}

std::vector<std::string> network_devices() {
  std::vector<std::string> names;
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): freed below by the call that belongs to it
  if (struct if_nameindex* const all = ::if_nameindex(); all != nullptr) {
    for (const struct if_nameindex* entry = all; entry->if_index != 0; ++entry) {
      names.emplace_back(entry->if_name);
    }
    ::if_freenameindex(all);
  }
  return names;
}

}  // namespace stallscope::host
