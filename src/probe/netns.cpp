// SPDX-License-Identifier: Apache-2.0
#include "probe/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <thread>
#include <utility>

#include "base/files.h"

namespace stallscope::probe {
namespace {

constexpr const char* operation = "use network namespace";
constexpr const char* list_hint = "List the namespaces with: ip netns";

base::Error open_error(const std::string& name, int errno_value) {
  if (errno_value == ENOENT) {
    return {operation, name, "there is none of that name", list_hint};
  }
  if (errno_value == EACCES) {
    return base::errno_error(operation, name, errno_value, "Run as root.");
  }
  return base::errno_error(operation, name, errno_value);
}

}  // namespace

NetworkNamespace::NetworkNamespace(std::string name, base::OwnedFd fd, std::uint64_t inode)
    : name_(std::move(name)), fd_(std::move(fd)), inode_(inode) {}

base::Result<NetworkNamespace> NetworkNamespace::open(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('\0') != std::string::npos) {
    return base::Error{operation, name, "not a name of a namespace", list_hint};
  }
  const std::string path = name.find('/') != std::string::npos ? name : std::string(named_directory) + "/" + name;
  // Non-blocking: a path that names a FIFO must not hang.
  base::OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    return open_error(name, errno);
  }
  struct stat status {};
  if (ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET || fstat(fd.get(), &status) != 0) {
    return base::Error{operation, name, "the file is not a network namespace", list_hint};
  }
  return NetworkNamespace(name, std::move(fd), status.st_ino);
}

base::Result<NetworkNamespace> NetworkNamespace::own() {
  return open("/proc/thread-self/ns/net");
}

base::Status NetworkNamespace::enter() const {
  if (setns(fd_.get(), CLONE_NEWNET) != 0) {
    return base::errno_error("enter network namespace", name_, errno, errno == EPERM ? "Run as root (CAP_SYS_ADMIN)." : "");
  }
  return base::ok();
}

base::Status run_in_netns(const NetworkNamespace& netns, const std::function<void()>& action) {
  base::Status status = base::ok();
  std::thread([&] {
    status = netns.enter();
    if (status) {
      action();
    }
  }).join();
  return status;
}

}  // namespace stallscope::probe
