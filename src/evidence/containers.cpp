// SPDX-License-Identifier: Apache-2.0
#include "evidence/containers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"

namespace stallscope::evidence {
namespace {

constexpr std::size_t container_id_length = 64;
// As "docker ps" and "crictl ps" abbreviate.
constexpr std::size_t short_id_length = 12;

constexpr std::array<std::pair<std::string_view, std::string_view>, 4> runtime_prefixes = {{
    {"docker-", "docker"},
    {"cri-containerd-", "containerd"},
    {"crio-", "cri-o"},
    {"libpod-", "podman"},
}};

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool is_container_id(std::string_view text) {
  return text.size() == container_id_length && std::all_of(text.begin(), text.end(), is_hex);
}

/// "pod7f9c4f2e-...": the cgroupfs driver. "kubepods-burstable-pod7f9c4f2e_....slice": the systemd driver.
std::string pod_uid_of(std::string_view component) {
  if (component.ends_with(".slice")) {
    component.remove_suffix(std::string_view(".slice").size());
    const std::size_t pod = component.rfind("-pod");
    if (!component.starts_with("kubepods") || pod == std::string_view::npos) {
      return {};
    }
    component.remove_prefix(pod + 1);
  }
  constexpr std::string_view prefix = "pod";
  // A static pod's uid is 32 digits without dashes.
  constexpr std::size_t shortest_uid = 32;
  if (!component.starts_with(prefix) || component.size() < prefix.size() + shortest_uid) {
    return {};
  }
  std::string uid(component.substr(prefix.size()));
  std::replace(uid.begin(), uid.end(), '_', '-');
  const bool valid = std::all_of(uid.begin(), uid.end(), [](char c) { return is_hex(c) || c == '-'; });
  return valid ? uid : std::string{};
}

/// Sets the container of "docker-<id>.scope", "crio-<id>", "<id>"; false when the component names none.
bool read_container(std::string_view component, std::string_view parent, CgroupOwner& owner) {
  if (component.ends_with(".scope")) {
    component.remove_suffix(std::string_view(".scope").size());
  }
  for (const auto& [prefix, runtime] : runtime_prefixes) {
    if (component.starts_with(prefix) && is_container_id(component.substr(prefix.size()))) {
      owner.runtime = runtime;
      owner.container_id = component.substr(prefix.size());
      return true;
    }
  }
  if (!is_container_id(component)) {
    return false;
  }
  // "/docker/<id>" names its runtime; below a pod the cgroupfs driver does not.
  owner.runtime = parent == "docker" ? "docker" : parent == "cri-containerd" ? "containerd" : "";
  owner.container_id = component;
  return true;
}

bool is_unit(std::string_view component) {
  return component.ends_with(".service") || component.ends_with(".scope") || component.ends_with(".slice");
}

}  // namespace

CgroupOwner cgroup_owner(std::string_view cgroup_path) {
  CgroupOwner owner;
  std::string_view parent;
  for (const std::string_view component : base::split(cgroup_path, '/')) {
    // containerd without a systemd cgroup parent: "/system.slice/containerd.service/kubepods-pod<uid>.slice:cri-containerd:<id>".
    for (const std::string_view part : base::split(component, ':')) {
      std::string pod_uid = pod_uid_of(part);
      if (!pod_uid.empty()) {
        owner.pod_uid = std::move(pod_uid);
        owner.systemd_unit.clear();
      } else if (read_container(part, parent, owner)) {
        owner.systemd_unit.clear();
      } else if (is_unit(part) && owner.container_id.empty() && owner.pod_uid.empty()) {
        owner.systemd_unit = part;
      }
      parent = part;
    }
  }
  return owner;
}

std::string describe_owner(const CgroupOwner& owner) {
  std::string container;
  if (!owner.container_id.empty()) {
    container = fmt::format("{}container {}", owner.runtime.empty() ? "" : owner.runtime + " ",
                            owner.container_id.substr(0, short_id_length));
  }
  if (!owner.pod_uid.empty()) {
    return container.empty() ? "pod " + owner.pod_uid : fmt::format("pod {}, {}", owner.pod_uid, container);
  }
  return container.empty() ? owner.systemd_unit : container;
}

}  // namespace stallscope::evidence
