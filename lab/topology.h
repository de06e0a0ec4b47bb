// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stallscope::lab {

inline constexpr std::string_view client_netns = "stallscope-client";
inline constexpr std::string_view node_netns = "stallscope-node";
inline constexpr std::string_view pod_netns = "stallscope-pod";
/// The node's address as the client sees it: what to probe.
inline constexpr std::string_view node_address = "10.0.1.2";

/// Owns three network namespaces joined by two veth pairs of two queues each, the node forwarding between them:
///
///   stallscope-client          stallscope-node          stallscope-pod
///     c0 10.0.1.1/24 --------- n0 10.0.1.2/24
///                              n1 10.0.2.1/24 --------- p0 10.0.2.2/24
///
/// All of it is removed when the owner goes, unless it was kept.
class Topology {
 public:
  /// The CPU that receives on n0 is `receive_cpu`. Needs CAP_SYS_ADMIN and iproute2.
  [[nodiscard]] static base::Result<Topology> make(int receive_cpu);
  ~Topology();
  Topology(Topology&& other) noexcept;
  Topology& operator=(Topology&&) = delete;
  Topology(const Topology&) = delete;
  Topology& operator=(const Topology&) = delete;

  /// Leaves it to be removed by remove_topology, and marks it so (in the alias of c0) that topology_is_kept tells it from the
  /// leftovers of a killed process.
  [[nodiscard]] base::Status keep();
  [[nodiscard]] base::Status remove();

 private:
  Topology() = default;
  bool owned_ = true;
};

/// Moves the calling thread into the network of one of the namespaces.
[[nodiscard]] base::Status enter_namespace(std::string_view name);
/// Runs `action` with the network of one of the namespaces and a /sys that shows it.
[[nodiscard]] base::Status in_namespace(std::string_view name, const std::function<base::Status()>& action);
[[nodiscard]] bool namespace_exists(std::string_view name);
/// Whether a whole topology is there that was kept on purpose.
[[nodiscard]] bool topology_is_kept();
/// Removes what there is of a topology, whoever left it; says whether there was anything.
[[nodiscard]] base::Result<bool> remove_topology();

/// Has every packet that arrives on the node's n0 handled by one CPU (rps_cpus of each of its RX queues).
[[nodiscard]] base::Status set_receive_cpu(int cpu);
/// `cpu` as a mask of the form that rps_cpus takes: words of 32 bits in hexadecimal, highest first, joined by commas.
[[nodiscard]] std::string cpu_mask(int cpu);
/// An error that names `option` and the CPUs online where `cpu` is not one of them.
[[nodiscard]] base::Status check_cpu_online(std::string_view option, int cpu);

}  // namespace stallscope::lab
