// SPDX-License-Identifier: Apache-2.0
#include "lab/cgroup_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/units.h"
#include "lab/wait_for.h"

namespace stallscope::lab {

base::Status make_cgroup(const std::string& path) {
  if (::mkdir(path.c_str(), S_IRWXU | S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH) != 0) {
    return base::errno_error("make cgroup", path, errno,
                             errno == ENOSPC || errno == ENOMEM ? "The kernel has no memory cgroup left: ask for fewer." : "");
  }
  return base::ok();
}

base::Status remove_cgroup(const std::string& path) {
  constexpr std::int64_t bound_ns = 10 * base::ns_per_s;
  int error = 0;
  wait_for(bound_ns, [&] {
    error = ::rmdir(path.c_str()) == 0 ? 0 : errno;
    return error != EBUSY;
  });
  if (error != 0 && error != ENOENT) {
    return base::errno_error("remove cgroup", path, error, "Look for processes in its cgroup.procs and for cgroups below it.");
  }
  return base::ok();
}

}  // namespace stallscope::lab
