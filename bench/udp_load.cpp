// SPDX-License-Identifier: Apache-2.0
// Sends UDP from one network namespace into another at a given rate and says how many packets the receiving namespace took.
//
// usage: udp_load FROM_NETNS TO_NETNS ADDRESS PAYLOAD_BYTES PACKETS_PER_S SECONDS CPU     (PACKETS_PER_S 0: as many as go)
//
// Prints {"sent":N,"taken":N,"seconds":S}. The receiving socket is never read, so what does not fit into its small buffer is
// dropped there: a packet's whole way through the receive path is worked, and nothing of an application. That makes packets as
// cheap as they get, and a tracer's share of them as large.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/owned_fd.h"
#include "base/text.h"
#include "base/units.h"

namespace {

namespace base = stallscope::base;
namespace bench = stallscope::bench;

constexpr std::uint16_t port = 9;                    // discard
constexpr std::size_t largest_payload_bytes = 1472;  // of an Ethernet frame
/// Time from one burst to the next: short enough that a queue of the receive path never holds a large part of a rate.
constexpr std::int64_t burst_period_ns = 100 * base::ns_per_us;
constexpr std::size_t largest_burst = 64;

struct Arguments {
  std::string from_netns;
  std::string to_netns;
  in_addr address{};
  std::size_t payload_bytes = 0;
  std::int64_t packets_per_s = 0;
  std::int64_t duration_ns = 0;
  int cpu = 0;
};

struct Outcome {
  std::int64_t sent = 0;
  std::int64_t elapsed_ns = 0;
};

int fail(std::string_view what) {
  fmt::print(stderr, "udp_load: {}: {}\n", what, std::strerror(errno));
  return EXIT_FAILURE;
}

bool enter(const std::string& netns) {
  const base::OwnedFd file(::open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC));
  return file && ::setns(file.get(), CLONE_NEWNET) == 0;
}

/// What UDP of this namespace took and dropped for want of a reader. Nothing if the kernel does not say.
std::optional<std::int64_t> packets_taken() {
  const base::Result<std::string> snmp = base::read_file("/proc/thread-self/net/snmp");
  if (!snmp) {
    return std::nullopt;
  }
  std::vector<std::string_view> names;
  for (const std::string_view line : base::split(*snmp, '\n')) {
    const std::vector<std::string_view> fields = base::split_fields(line);
    if (fields.empty() || fields.front() != "Udp:") {
      continue;
    }
    if (names.empty()) {
      names = fields;
      continue;
    }
    const auto column = std::find(names.begin(), names.end(), "RcvbufErrors") - names.begin();
    if (column < static_cast<std::ptrdiff_t>(fields.size())) {
      return bench::whole_number(fields[static_cast<std::size_t>(column)]);
    }
  }
  return std::nullopt;
}

base::OwnedFd open_sink() {
  base::OwnedFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  const int smallest = 0;
  if (!socket || setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest) != 0 ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    return {};
  }
  return socket;
}

base::OwnedFd open_source(in_addr address) {
  base::OwnedFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(port);
  target.sin_addr = address;
  if (!socket || connect(socket.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) {
    return {};
  }
  return socket;
}

/// Sends bursts on an absolute schedule. A late sender makes up for what it owes, so the rate holds on average.
std::optional<Outcome> send_all(const base::OwnedFd& socket, const Arguments& arguments) {
  std::array<char, largest_payload_bytes> payload{};
  iovec part{payload.data(), std::min(arguments.payload_bytes, payload.size())};
  std::array<mmsghdr, largest_burst> messages{};
  for (mmsghdr& message : messages) {
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;
  }
  Outcome outcome;
  const std::int64_t start_ns = base::monotonic_ns();
  std::int64_t now_ns = start_ns;
  std::int64_t next_ns = start_ns;
  while (now_ns - start_ns < arguments.duration_ns) {
    auto due = static_cast<std::int64_t>(largest_burst);
    if (arguments.packets_per_s > 0) {
      const double elapsed_s = static_cast<double>(now_ns - start_ns) / static_cast<double>(base::ns_per_s);
      due = static_cast<std::int64_t>(elapsed_s * static_cast<double>(arguments.packets_per_s)) - outcome.sent;
    }
    if (due <= 0) {
      next_ns = std::max(next_ns + burst_period_ns, now_ns);
      const timespec until{next_ns / base::ns_per_s, next_ns % base::ns_per_s};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
    } else {
      const auto count = static_cast<unsigned>(std::min<std::int64_t>(due, largest_burst));
      const int sent = sendmmsg(socket.get(), messages.data(), count, 0);
      if (sent < 0 && errno != EINTR && errno != ENOBUFS && errno != EAGAIN) {
        return std::nullopt;
      }
      outcome.sent += std::max(sent, 0);
    }
    now_ns = base::monotonic_ns();
  }
  outcome.elapsed_ns = now_ns - start_ns;
  return outcome;
}

/// The count once it stands still: what is in queues when sending ends is still to be taken.
std::optional<std::int64_t> settled_count() {
  constexpr int tries = 100;
  std::optional<std::int64_t> last = packets_taken();
  for (int i = 0; i < tries && last; ++i) {
    const timespec pause{0, 10 * base::ns_per_ms};
    nanosleep(&pause, nullptr);
    const std::optional<std::int64_t> now = packets_taken();
    if (now == last) {
      break;
    }
    last = now;
  }
  return last;
}

int run(const Arguments& arguments) {
  cpu_set_t cpus{};
  CPU_SET(static_cast<std::size_t>(arguments.cpu), &cpus);
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
    return fail("use the CPU");
  }
  // One nanosecond, the shortest: the default of 50 us would double the length of a burst.
  static_cast<void>(prctl(PR_SET_TIMERSLACK, 1UL));
  if (!enter(arguments.from_netns)) {
    return fail("enter " + arguments.from_netns);
  }
  const base::OwnedFd source = open_source(arguments.address);
  if (!source) {
    return fail("open the sending socket");
  }
  if (!enter(arguments.to_netns)) {
    return fail("enter " + arguments.to_netns);
  }
  const base::OwnedFd sink = open_sink();
  if (!sink) {
    return fail("open the receiving socket");
  }
  const std::optional<std::int64_t> before = packets_taken();
  const std::optional<Outcome> outcome = send_all(source, arguments);
  if (!outcome) {
    return fail("send");
  }
  const std::optional<std::int64_t> after = settled_count();
  if (!before || !after) {
    return fail("read the counters of UDP");
  }
  fmt::print("{{\"sent\":{},\"taken\":{},\"seconds\":{:.6f}}}\n", outcome->sent, *after - *before,
             static_cast<double>(outcome->elapsed_ns) / static_cast<double>(base::ns_per_s));
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  constexpr int wanted = 8;
  if (argc != wanted || inet_pton(AF_INET, argv[3], &arguments.address) != 1) {
    fmt::print(stderr, "usage: udp_load FROM_NETNS TO_NETNS ADDRESS PAYLOAD_BYTES PACKETS_PER_S SECONDS CPU\n");
    return EXIT_FAILURE;
  }
  arguments.from_netns = argv[1];
  arguments.to_netns = argv[2];
  arguments.payload_bytes = static_cast<std::size_t>(bench::whole_number(argv[4]));
  arguments.packets_per_s = bench::whole_number(argv[5]);
  arguments.duration_ns = bench::whole_number(argv[6]) * base::ns_per_s;
  arguments.cpu = bench::small_number(argv[7]);
  return run(arguments);
}
