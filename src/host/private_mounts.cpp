// SPDX-License-Identifier: Apache-2.0
#include "host/private_mounts.h"

#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <thread>

namespace stallscope::host {

base::Status in_private_mounts(const std::function<base::Status()>& action) {
  base::Status result = base::ok();
  std::thread([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      result = base::errno_error("make", "a mount namespace", errno);
    } else {
      result = action();
    }
  }).join();
  return result;
}

}  // namespace stallscope::host
