// SPDX-License-Identifier: Apache-2.0
#include "evidence/containers.h"

#include <gtest/gtest.h>

namespace stallscope::evidence {
namespace {

const std::string id = "0f3c1a5b7d9e2f4a6c8e0b1d3f5a7c9e1b3d5f7a9c1e3b5d7f9a1c3e5b7d9f1a";
const std::string uid = "5e1d8f2a-31c4-4b7e-9a55-0d6c7e8f9a01";
const std::string uid_in_slice = "5e1d8f2a_31c4_4b7e_9a55_0d6c7e8f9a01";

struct Case {
  std::string path;
  std::string runtime;
  std::string container_id;
  std::string pod_uid;
  std::string unit;
};

class CgroupPaths : public ::testing::TestWithParam<Case> {};

TEST_P(CgroupPaths, name_their_owner) {
  const CgroupOwner owner = cgroup_owner(GetParam().path);
  EXPECT_EQ(owner.runtime, GetParam().runtime);
  EXPECT_EQ(owner.container_id, GetParam().container_id);
  EXPECT_EQ(owner.pod_uid, GetParam().pod_uid);
  EXPECT_EQ(owner.systemd_unit, GetParam().unit);
}

INSTANTIATE_TEST_SUITE_P(
    Real, CgroupPaths,
    ::testing::Values(
        Case{"/docker/" + id, "docker", id, "", ""}, Case{"/system.slice/docker-" + id + ".scope", "docker", id, "", ""},
        Case{"/machine.slice/libpod-" + id + ".scope/container", "podman", id, "", ""},
        Case{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope", "podman", id, "", ""},
        Case{"/kubepods/burstable/pod" + uid + "/" + id, "", id, uid, ""}, Case{"/kubepods/pod" + uid + "/" + id, "", id, uid, ""},
        Case{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_in_slice + ".slice/cri-containerd-" + id +
                 ".scope",
             "containerd", id, uid, ""},
        Case{"/kubepods.slice/kubepods-pod" + uid_in_slice + ".slice/crio-" + id + ".scope/container", "cri-o", id, uid, ""},
        Case{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uid_in_slice + ".slice/docker-" + id + ".scope",
             "docker", id, uid, ""},
        Case{"/system.slice/containerd.service/kubepods-burstable-pod" + uid_in_slice + ".slice:cri-containerd:" + id, "containerd",
             id, uid, ""},
        // A static pod: its uid is a hash without dashes.
        Case{"/kubepods/burstable/pod0123456789abcdef0123456789abcdef/" + id, "", id, "0123456789abcdef0123456789abcdef", ""},
        Case{"/kubepods.slice/kubepods-burstable.slice", "", "", "", "kubepods-burstable.slice"},
        Case{"/system.slice/ssh.service", "", "", "", "ssh.service"},
        Case{"/user.slice/user-0.slice/session-3.scope", "", "", "", "session-3.scope"}, Case{"/", "", "", "", ""},
        Case{"", "", "", "", ""}, Case{"/podcast/docker-short.scope", "", "", "", "docker-short.scope"},
        // One digit short of an id.
        Case{"/docker/" + id.substr(1), "", "", "", ""}));

TEST(DescribeOwner, says_runtime_and_short_id) {
  EXPECT_EQ(describe_owner({"docker", id, "", ""}), "docker container 0f3c1a5b7d9e");
  EXPECT_EQ(describe_owner({"", id, uid, ""}), "pod " + uid + ", container 0f3c1a5b7d9e");
  EXPECT_EQ(describe_owner({"", "", uid, ""}), "pod " + uid);
  EXPECT_EQ(describe_owner({"", "", "", "ssh.service"}), "ssh.service");
  EXPECT_EQ(describe_owner({}), "");
}

}  // namespace
}  // namespace stallscope::evidence
