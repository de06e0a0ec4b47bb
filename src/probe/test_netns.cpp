// SPDX-License-Identifier: Apache-2.0
#include "probe/test_netns.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <thread>

#include "probe/resolve.h"

namespace stallscope::probe {
namespace {

/// Runs a shell command in the calling thread's namespace.
std::string shell(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "re");  // NOLINT(cert-env33-c): the commands are constants of the tests
  if (pipe == nullptr) {
    throw std::runtime_error("cannot run " + command);
  }
  std::string output;
  std::array<char, 4096> buffer{};
  for (std::size_t got = 0; (got = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    output.append(buffer.data(), got);
  }
  const int status = pclose(pipe);
  if (status != 0) {
    throw std::runtime_error(fmt::format("{}: status {}: {}", command, status, output));
  }
  return output;
}

}  // namespace

TestNetns::TestNetns() {
  std::thread([this] {
    if (unshare(CLONE_NEWNET) == 0) {
      fd_ = base::OwnedFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    }
  }).join();
  if (!fd_) {
    throw std::runtime_error("cannot make a network namespace; run this test as root");
  }
  path_ = fmt::format("/proc/{}/fd/{}", getpid(), fd_.get());
  ip("link set lo up");
}

void TestNetns::run(const std::function<void()>& action) const {
  const base::Result<NetworkNamespace> netns = NetworkNamespace::open(path_);
  if (!netns) {
    throw std::runtime_error(netns.error().message());
  }
  if (const base::Status status = run_in_netns(*netns, action); !status) {
    throw std::runtime_error(status.error().message());
  }
}

std::string TestNetns::output_of(const std::string& command) const {
  std::string output;
  std::string failure;
  run([&] {
    try {
      output = shell(command);
    } catch (const std::runtime_error& error) {
      failure = error.what();
    }
  });
  if (!failure.empty()) {
    throw std::runtime_error(failure);
  }
  return output;
}

void TestNetns::ip(const std::string& arguments) const {
  static_cast<void>(output_of("ip " + arguments + " 2>&1"));
}

void TestNetns::set_ipv4(const std::string& name, const std::string& value) const {
  static_cast<void>(output_of("echo '" + value + "' > /proc/sys/net/ipv4/" + name));
}

in_addr address(const std::string& text) {
  const base::Result<in_addr> resolved = resolve_target(text);
  return resolved ? *resolved : in_addr{};
}

void join(const TestNetns& left, const std::string& left_address, const TestNetns& right, const std::string& right_address) {
  left.ip("link add veth type veth peer name veth netns " + right.path());
  left.ip("addr add " + left_address + " dev veth");
  right.ip("addr add " + right_address + " dev veth");
  left.ip("link set veth up");
  right.ip("link set veth up");
}

}  // namespace stallscope::probe
