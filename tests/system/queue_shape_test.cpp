// SPDX-License-Identifier: Apache-2.0
// The shape of real stalls: two namespaces, RPS over two CPUs, sixteen UDP flows, and the lab switching off interrupts on CPU 0.
// Those flows that RPS gives to CPU 0 have to stall as a whole, the others must not, and the verdict has to say so.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/units.h"
#include "host/private_mounts.h"
#include "host/rss.h"
#include "probe/test_netns.h"
#include "report/shape.h"
#include "rss/learning.h"
#include "shape/shape.h"

extern char** environ;

namespace stallscope {
namespace {

constexpr int flow_count = 16;
constexpr std::int64_t interval_ns = base::ns_per_ms / 2;
constexpr std::int64_t duration_ns = 6 * base::ns_per_s;
constexpr std::uint16_t client_port = 40'000;
constexpr std::uint16_t server_port = 7'007;
constexpr std::int64_t length_ms = 80;
constexpr int stalled_cpu = 0;
constexpr int other_cpu = 1;

struct Message {
  std::uint32_t flow = 0;
  std::uint32_t index = 0;
  std::int32_t cpu = -1;
};

void stay_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  sched_setaffinity(0, sizeof(set), &set);
  // Others on this machine must not make prober and server late.
  sched_param priority{};
  priority.sched_priority = 1;
  sched_setscheduler(0, SCHED_FIFO, &priority);
}

sockaddr_in at(const char* address, std::uint16_t port) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  inet_pton(AF_INET, address, &name.sin_addr);
  return name;
}

/// A connected socket for each flow, and for each a server socket of its own, so that SO_INCOMING_CPU is that of the flow.
struct Sockets {
  std::array<base::OwnedFd, flow_count> clients;
  std::array<base::OwnedFd, flow_count> servers;
};

/// Connected: of a UDP socket that is not, the kernel does not keep the CPU (__udp_queue_rcv_skb).
base::OwnedFd udp_socket(const sockaddr_in& own, const sockaddr_in& peer) {
  base::OwnedFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) != 0) {
    throw std::runtime_error(std::string("bind: ") + std::strerror(errno));
  }
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) != 0) {
    throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
  }
  return socket;
}

void serve(const Sockets& sockets, const std::atomic<bool>& stop) {
  stay_on(other_cpu);
  std::array<pollfd, flow_count> waiting{};
  for (std::size_t flow = 0; flow < flow_count; ++flow) {
    waiting[flow] = {sockets.servers[flow].get(), POLLIN, 0};
  }
  while (!stop) {
    ::poll(waiting.data(), waiting.size(), 20);
    for (const pollfd& ready : waiting) {
      Message message;
      while (recv(ready.fd, &message, sizeof(message), 0) == sizeof(message)) {
        socklen_t length = sizeof(message.cpu);
        getsockopt(ready.fd, SOL_SOCKET, SO_INCOMING_CPU, &message.cpu, &length);
        send(ready.fd, &message, sizeof(message), 0);
      }
    }
  }
}

struct Recording {
  std::vector<shape::TimedPacket> packets;
  std::vector<rss::Sighting> sightings;
};

void receive(const Sockets& sockets, Recording& recording, std::int64_t realtime_offset_ns) {
  for (const base::OwnedFd& client : sockets.clients) {
    while (true) {
      Message message;
      iovec data = {&message, sizeof(message)};
      alignas(cmsghdr) std::array<char, 256> control{};
      msghdr header{};
      header.msg_iov = &data;
      header.msg_iovlen = 1;
      header.msg_control = control.data();
      header.msg_controllen = control.size();
      if (recvmsg(client.get(), &header, 0) != sizeof(message) || message.index >= recording.packets.size()) {
        break;
      }
      timespec stamp{};
      if (const cmsghdr* const stamped = CMSG_FIRSTHDR(&header)) {
        std::memcpy(&stamp, CMSG_DATA(stamped), sizeof(stamp));
      }
      shape::TimedPacket& packet = recording.packets[message.index];
      packet.answered_ns = stamp.tv_sec * base::ns_per_s + stamp.tv_nsec - realtime_offset_ns;
      // While packets queue up, the socket tells the CPU of another: only prompt ones show where they were received.
      if (packet.rtt_ns() < 2 * base::ns_per_ms) {
        recording.sightings.push_back({message.flow, message.cpu});
      }
    }
  }
}

void probe(const Sockets& sockets, Recording& recording) {
  stay_on(other_cpu);
  const std::int64_t realtime_offset_ns = base::realtime_offset_ns();
  const std::int64_t start_ns = base::monotonic_ns();
  for (std::uint32_t index = 0; index * interval_ns < duration_ns; ++index) {
    const std::int64_t due_ns = start_ns + index * interval_ns;
    const timespec until = {due_ns / base::ns_per_s, due_ns % base::ns_per_s};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
    const Message message = {index % flow_count, index, -1};
    recording.packets.push_back({message.flow, index / flow_count, due_ns, base::monotonic_ns()});
    send(sockets.clients[message.flow].get(), &message, sizeof(message), 0);
    receive(sockets, recording, realtime_offset_ns);
  }
  for (int round = 0; round < 20; ++round) {
    const timespec pause = {0, 10 * base::ns_per_ms};
    nanosleep(&pause, nullptr);
    receive(sockets, recording, realtime_offset_ns);
  }
}

void set_rps(const probe::TestNetns& netns, const char* mask) {
  std::string failure;
  netns.run([&] {
    const base::Status set = host::in_private_mounts([&]() -> base::Status {
      if (::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) {
        return base::errno_error("mount", "sysfs", errno);
      }
      return base::write_file("/sys/class/net/veth/queues/rx-0/rps_cpus", mask);
    });
    failure = set ? "" : set.error().message();
  });
  ASSERT_EQ(failure, "");
}

/// `stallscope lab run irq-off-section`, ended with this object.
class Fault {
 public:
  explicit Fault(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (std::string& argument : arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    if (::posix_spawn(&pid_, argv.front(), nullptr, nullptr, argv.data(), environ) != 0) {
      throw std::runtime_error("cannot start " + arguments.front());
    }
  }
  ~Fault() { end(); }
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
  Fault(Fault&&) = delete;
  Fault& operator=(Fault&&) = delete;

  /// The exit status; -1 where a signal ended it.
  int end() {
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
      ::waitpid(pid_, &status_, 0);
      pid_ = -1;
    }
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
  }

 private:
  pid_t pid_ = -1;
  int status_ = 0;
};

TEST(QueueShape, names_the_flows_that_rps_gives_to_the_stalled_cpu) {
  ASSERT_EQ(::geteuid(), 0U) << "needs root";
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) {
    GTEST_SKIP() << "needs two CPUs";
  }
  const probe::TestNetns left;
  const probe::TestNetns right;
  probe::join(left, "10.99.0.1/24", right, "10.99.0.2/24");
  set_rps(right, "3");
  // Answers always arrive on the CPU that keeps running: only the way there can stall.
  set_rps(left, "2");
  Sockets sockets;
  const auto client = [](std::size_t flow) { return at("10.99.0.1", static_cast<std::uint16_t>(client_port + flow)); };
  const auto serving = [](std::size_t flow) { return at("10.99.0.2", static_cast<std::uint16_t>(server_port + flow)); };
  right.run([&] {
    for (std::size_t flow = 0; flow < flow_count; ++flow) {
      sockets.servers[flow] = udp_socket(serving(flow), client(flow));
    }
  });
  left.run([&] {
    for (std::size_t flow = 0; flow < flow_count; ++flow) {
      sockets.clients[flow] = udp_socket(client(flow), serving(flow));
    }
  });
  std::atomic<bool> stop = false;
  std::thread server([&] { serve(sockets, stop); });
  Recording recording;
  recording.packets.reserve(duration_ns / interval_ns + 1);
  {
    Fault fault({STALLSCOPE_PROGRAM, "lab", "run", "irq-off-section", "--length", std::to_string(length_ms) + "ms", "--period",
                 "500ms", "--cpu", std::to_string(stalled_cpu)});
    std::thread([&] { probe(sockets, recording); }).join();
    EXPECT_EQ(fault.end(), 0) << "the lab did not cause the fault";
  }
  stop = true;
  server.join();

  const std::map<std::uint32_t, std::int32_t> places = rss::learn_places(recording.sightings);
  const shape::Analysis analysis = shape::analyse(recording.packets);
  report::ShapeOptions options;
  for (int flow = 0; flow < flow_count; ++flow) {
    options.flows.push_back({"udp", std::to_string(client_port + flow)});
  }
  std::vector<std::int32_t> rows(flow_count, shape::no_row);
  for (const auto& [flow, cpu] : places) {
    rows[flow] = cpu;
  }
  const std::string shown = report::render_shape(analysis, options) +
                            report::render_heat_map(shape::make_heat_map(recording.packets, rows, 2, 64), {"CPU 0", "CPU 1"}, {});
  RecordProperty("shape", shown);
  std::puts(shown.c_str());
  ASSERT_EQ(places.size(), static_cast<std::size_t>(flow_count)) << "RPS keeps each flow on one CPU";
  EXPECT_EQ(analysis.verdict.cause, shape::Cause::receive_queue) << shown;
  EXPECT_GE(analysis.verdict.stalled_flows.size(), 1U);
  for (const shape::StallEpisode& episode : analysis.episodes) {
    // What the lab caused, not what the hypervisor adds.
    if (episode.cause == shape::Cause::receive_queue && episode.longest_ns > length_ms / 2 * base::ns_per_ms) {
      EXPECT_LE(episode.shortest_ns, (length_ms + 2) * base::ns_per_ms) << shown;
      EXPECT_GE(episode.longest_ns, length_ms * base::ns_per_ms) << shown;
    }
  }
  for (const std::uint32_t flow : analysis.verdict.stalled_flows) {
    EXPECT_EQ(places.at(flow), stalled_cpu) << "flow " << flow << "\n" << shown;
  }
  for (const std::uint32_t flow : analysis.verdict.passing_flows) {
    EXPECT_EQ(places.at(flow), other_cpu) << "flow " << flow << "\n" << shown;
  }
}

}  // namespace
}  // namespace stallscope
