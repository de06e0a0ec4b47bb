// SPDX-License-Identifier: Apache-2.0
#include "probe/responder.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/units.h"
#include "probe/netns.h"
#include "probe/rate_limiter.h"
#include "probe/stop_event.h"
#include "probe/udp_packet.h"
#include "probe/wire.h"

namespace stallscope::probe {
namespace {

constexpr std::size_t datagrams_at_once = 64;
constexpr int responder_buffer_bytes = 4 << 20;

/// One more than a probe has: a longer datagram is told by its length.
using Datagram = std::array<std::byte, udp_packet_bytes + 1>;

base::Result<base::OwnedFd> listen_at(Endpoint& at) {
  base::OwnedFd fd(socket(at.family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    return base::errno_error("open", "a UDP socket", errno);
  }
  constexpr int on = 1;
  const auto set = [&](int level, int option, int value) {
    static_cast<void>(setsockopt(fd.get(), level, option, &value, sizeof value));
  };
  // The answer leaves from the address that was asked: a host has several, and the prober knows one.
  if (at.family == AF_INET6) {
    set(IPPROTO_IPV6, IPV6_V6ONLY, on);
    set(IPPROTO_IPV6, IPV6_RECVPKTINFO, on);
  } else {
    set(IPPROTO_IP, IP_PKTINFO, on);
  }
  set(SOL_SOCKET, SO_TIMESTAMPNS, on);
  set(SOL_SOCKET, SO_RCVBUF, responder_buffer_bytes);
  set(SOL_SOCKET, SO_RCVBUFFORCE, responder_buffer_bytes);
  SocketAddress address{};
  socklen_t length = to_socket_address(at, address);
  if (bind(fd.get(), &address.any, length) != 0) {
    return base::errno_error("listen at", endpoint_text(at), errno,
                             errno == EADDRINUSE ? "Another program has that port; give another with --port." : "");
  }
  if (getsockname(fd.get(), &address.any, &length) == 0) {
    at = endpoint_of(address);
  }
  return fd;
}

class Answering {
 public:
  Answering(std::vector<base::OwnedFd>& sockets, std::int64_t limit_per_second) : limiter_(limit_per_second) {
    for (const base::OwnedFd& socket : sockets) {
      polled_.push_back({socket.get(), POLLIN, 0});
    }
  }

  base::Result<ResponderCounts> run(const std::stop_token& stop) {
    const StopEvent stop_event(stop);
    if (stop_event.fd() < 0) {
      return base::errno_error("open", "an event descriptor", errno);
    }
    const std::size_t socket_count = polled_.size();
    polled_.push_back({stop_event.fd(), POLLIN, 0});
    while (!stop.stop_requested()) {
      if (poll(polled_.data(), polled_.size(), -1) < 0 && errno != EINTR) {
        return base::errno_error("wait for", "probes", errno);
      }
      for (std::size_t i = 0; i < socket_count; ++i) {
        if (polled_[i].revents != 0) {
          answer_all(polled_[i].fd);
        }
      }
    }
    return counts_;
  }

 private:
  static constexpr std::size_t control_bytes = 256;
  struct Message {
    Datagram data;
    alignas(cmsghdr) std::array<std::byte, control_bytes> control;
    alignas(cmsghdr) std::array<std::byte, control_bytes> answer_control;
    SocketAddress from;
    iovec vector;
  };

  /// A batch; what comes meanwhile is announced by poll again.
  void answer_all(int fd) {
    for (std::size_t i = 0; i < datagrams_at_once; ++i) {
      Message& message = messages_.at(i);
      message.vector = {message.data.data(), message.data.size()};
      msghdr& header = received_.at(i).msg_hdr;
      header = {};
      header.msg_name = &message.from;
      header.msg_namelen = sizeof message.from;
      header.msg_iov = &message.vector;
      header.msg_iovlen = 1;
      header.msg_control = message.control.data();
      header.msg_controllen = message.control.size();
    }
    const int got = recvmmsg(fd, received_.data(), datagrams_at_once, MSG_DONTWAIT, nullptr);
    std::size_t answer_count = 0;
    const std::int64_t now_ns = base::monotonic_ns();
    for (int i = 0; i < got; ++i) {
      Message& message = messages_.at(static_cast<std::size_t>(i));
      mmsghdr& received = received_.at(static_cast<std::size_t>(i));
      const std::span<const std::byte> datagram = std::span(message.data).first(received.msg_len);
      if (!is_udp_probe(datagram)) {
        ++counts_.ignored;
      } else if (!limiter_.allow(source_key(endpoint_of(message.from)), now_ns)) {
        ++counts_.over_limit;
      } else {
        prepare(message, received.msg_hdr, answers_.at(answer_count++).msg_hdr);
      }
    }
    send(fd, answer_count);
  }

  /// Sources are told apart as far as somebody can choose addresses freely.
  static std::uint64_t source_key(const Endpoint& from) {
    return load_big_endian<std::uint64_t>(from.address) ^ static_cast<std::uint64_t>(from.family);
  }

  static void prepare(Message& message, msghdr& received, msghdr& answer) {
    std::int64_t received_ns = 0;
    std::size_t control_length = 0;
    for (cmsghdr* control = CMSG_FIRSTHDR(&received); control != nullptr; control = CMSG_NXTHDR(&received, control)) {
      if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPNS) {
        timespec stamp{};
        std::memcpy(&stamp, CMSG_DATA(control), sizeof stamp);
        received_ns = (static_cast<std::int64_t>(stamp.tv_sec) * base::ns_per_s) + stamp.tv_nsec;
      } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
        in_pktinfo info{};
        std::memcpy(&info, CMSG_DATA(control), sizeof info);
        in_pktinfo source{};
        source.ipi_spec_dst = info.ipi_spec_dst;
        control_length = write_control(message, IPPROTO_IP, IP_PKTINFO, source);
      } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
        in6_pktinfo info{};
        std::memcpy(&info, CMSG_DATA(control), sizeof info);
        control_length = write_control(message, IPPROTO_IPV6, IPV6_PKTINFO, info);
      }
    }
    const std::int64_t sent_ns = base::realtime_ns();
    // Without a stamp, or with one from before a step of the clock, the time in this host is not known: none is claimed.
    const std::int64_t since_ns = received_ns > 0 && received_ns <= sent_ns ? received_ns : sent_ns;
    make_udp_answer(std::span(message.data).first<udp_packet_bytes>(), since_ns, sent_ns);
    message.vector.iov_len = udp_packet_bytes;
    answer = {};
    answer.msg_name = &message.from;
    answer.msg_namelen = received.msg_namelen;
    answer.msg_iov = &message.vector;
    answer.msg_iovlen = 1;
    answer.msg_control = control_length > 0 ? message.answer_control.data() : nullptr;
    answer.msg_controllen = control_length;
  }

  template <typename Info>
  static std::size_t write_control(Message& message, int level, int type, const Info& info) {
    cmsghdr header{};
    header.cmsg_level = level;
    header.cmsg_type = type;
    header.cmsg_len = CMSG_LEN(sizeof info);
    std::memcpy(message.answer_control.data(), &header, sizeof header);
    std::memcpy(message.answer_control.data() + CMSG_LEN(0), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
  }

  void send(int fd, std::size_t count) {
    std::size_t first = 0;
    while (first < count) {
      const int sent = sendmmsg(fd, &answers_.at(first), static_cast<unsigned>(count - first), 0);
      if (sent < 0 && errno == EINTR) {
        continue;
      }
      if (sent <= 0) {
        ++counts_.failed;
        ++first;
        continue;
      }
      counts_.answered += sent;
      first += static_cast<std::size_t>(sent);
    }
  }

  RateLimiter limiter_;
  std::vector<pollfd> polled_;
  std::array<Message, datagrams_at_once> messages_{};
  std::array<mmsghdr, datagrams_at_once> received_{};
  std::array<mmsghdr, datagrams_at_once> answers_{};
  ResponderCounts counts_;
};

}  // namespace

base::Result<Responder> Responder::open(const ResponderOptions& options) {
  Responder responder;
  responder.options_ = options;
  responder.endpoints_ = options.listen;
  base::Status status = base::ok();
  const auto open_here = [&] {
    for (Endpoint& endpoint : responder.endpoints_) {
      base::Result<base::OwnedFd> socket = listen_at(endpoint);
      if (!socket) {
        status = socket.error();
        return;
      }
      responder.sockets_.push_back(*std::move(socket));
    }
  };
  if (options.netns.empty()) {
    open_here();
  } else {
    const base::Result<NetworkNamespace> netns = NetworkNamespace::open(options.netns);
    if (!netns) {
      return netns.error();
    }
    if (const base::Status entered = run_in_netns(*netns, open_here); !entered) {
      return entered.error();
    }
  }
  if (!status) {
    return status.error();
  }
  return responder;
}

base::Result<ResponderCounts> Responder::run(const std::stop_token& stop) {
  const auto answering = std::make_unique<Answering>(sockets_, options_.limit_per_second);
  return answering->run(stop);
}

}  // namespace stallscope::probe
