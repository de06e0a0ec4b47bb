// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace stallscope::evidence {

/// Who a cgroup belongs to, as far as its path says. Empty fields: the path does not say.
struct CgroupOwner {
  /// "docker", "containerd", "cri-o", "podman".
  std::string runtime;
  /// 64 hexadecimal digits.
  std::string container_id;
  /// With dashes, as Kubernetes prints it.
  std::string pod_uid;
  /// The innermost unit of systemd that is not a container's: "ssh.service", "user@1000.service", "system.slice".
  std::string systemd_unit;
};

/// Understands the paths of docker, containerd, cri-o and podman, and those of Kubernetes pods with the cgroupfs and the systemd
/// driver.
[[nodiscard]] CgroupOwner cgroup_owner(std::string_view cgroup_path);

/// "docker container 3f2a1b9c0d4e", "pod 7f9c..., container 3f2a1b9c0d4e", "ssh.service" or nothing.
[[nodiscard]] std::string describe_owner(const CgroupOwner& owner);

}  // namespace stallscope::evidence
