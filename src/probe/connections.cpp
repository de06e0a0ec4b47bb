// SPDX-License-Identifier: Apache-2.0
#include "probe/connections.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/clock.h"

namespace stallscope::probe {

using evidence::AnswerKind;

base::Result<Connections> Connections::open(std::size_t capacity) {
  Connections connections;
  connections.epoll_ = base::OwnedFd(epoll_create1(EPOLL_CLOEXEC));
  if (!connections.epoll_) {
    return base::errno_error("open", "an epoll descriptor", errno);
  }
  connections.connections_ = std::vector<Connection>(capacity);
  connections.free_.reserve(capacity);
  for (std::size_t i = capacity; i > 0; --i) {
    connections.free_.push_back(static_cast<std::uint32_t>(i - 1));
  }
  // A connection ends once before its slot is used again, which is after it was collected.
  connections.finished_.reserve(capacity + batch_size);
  connections.collected_.reserve(capacity + batch_size);
  return connections;
}

int Connections::start(std::int64_t sequence, const Endpoint& to, const std::string& request) {
  base::OwnedFd fd(socket(to.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    return errno;
  }
  constexpr int on = 1;
  static_cast<void>(setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  const std::uint32_t index = free_.back();
  free_.pop_back();
  Connection& connection = connections_[index];
  connection.fd = std::move(fd);
  connection.phase = Phase::connecting;
  connection.result = {.sequence = sequence};
  connection.request = &request;
  connection.sent_bytes = 0;
  connection.reader.reset();
  SocketAddress address{};
  const socklen_t length = to_socket_address(to, address);
  if (connect(connection.fd.get(), &address.any, length) != 0 && errno != EINPROGRESS) {
    const int error_number = errno;
    if (error_number == ECONNREFUSED) {
      finish(connection, index, AnswerKind::reset, error_number);
      return 0;
    }
    connection.fd.reset();
    connection.phase = Phase::unused;
    free_.push_back(index);
    return error_number;
  }
  watch(index, EPOLLOUT, EPOLL_CTL_ADD);
  return 0;
}

void Connections::watch(std::size_t index, unsigned events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = index;
  static_cast<void>(epoll_ctl(epoll_.get(), operation, connections_[index].fd.get(), &event));
}

std::span<const FinishedConnection> Connections::collect() {
  std::array<epoll_event, batch_size> events{};
  const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<std::size_t>(events.at(static_cast<std::size_t>(i)).data.u64);
    advance(connections_[index], index);
  }
  std::swap(finished_, collected_);
  finished_.clear();
  return collected_;
}

void Connections::advance(Connection& connection, std::size_t index) {
  if (connection.phase == Phase::connecting) {
    connected(connection, index);
  }
  if (connection.phase == Phase::sending) {
    const std::string& request = *connection.request;
    const ssize_t sent = send(connection.fd.get(), request.data() + connection.sent_bytes, request.size() - connection.sent_bytes,
                              MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno != EAGAIN) {
        finish(connection, index, AnswerKind::none, errno);
      }
      return;
    }
    connection.sent_bytes += static_cast<std::size_t>(sent);
    if (connection.sent_bytes == request.size()) {
      connection.phase = Phase::reading;
      watch(index, EPOLLIN, EPOLL_CTL_MOD);
    }
    return;
  }
  if (connection.phase == Phase::reading) {
    read_response(connection, index);
  }
}

void Connections::connected(Connection& connection, std::size_t index) {
  int error_number = 0;
  socklen_t length = sizeof error_number;
  static_cast<void>(getsockopt(connection.fd.get(), SOL_SOCKET, SO_ERROR, &error_number, &length));
  if (error_number != 0) {
    finish(connection, index, error_number == ECONNREFUSED ? AnswerKind::reset : AnswerKind::none, error_number);
    return;
  }
  connection.result.connected_ns = base::monotonic_ns();
  if (connection.request->empty()) {
    constexpr linger reset{.l_onoff = 1, .l_linger = 0};
    static_cast<void>(setsockopt(connection.fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
    finish(connection, index, AnswerKind::syn_ack, 0);
    return;
  }
  connection.phase = Phase::sending;
}

void Connections::read_response(Connection& connection, std::size_t index) {
  std::array<std::byte, 16384> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by recv
  while (true) {
    const ssize_t got = recv(connection.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0) {
      if (errno != EAGAIN && errno != EINTR) {
        finish(connection, index, AnswerKind::none, errno);
        return;
      }
      if (errno == EAGAIN) {
        return;
      }
      continue;
    }
    if (got > 0 && connection.result.first_byte_ns < 0) {
      connection.result.first_byte_ns = base::monotonic_ns();
    }
    const HttpReader::State state =
        got == 0 ? connection.reader.end() : connection.reader.take(std::span(buffer).first(static_cast<std::size_t>(got)));
    connection.result.http_status = connection.reader.status();
    if (state == HttpReader::State::complete) {
      finish(connection, index, AnswerKind::http_response, 0);
      return;
    }
    if (state == HttpReader::State::malformed) {
      finish(connection, index, AnswerKind::none, EPROTO);
      return;
    }
  }
}

void Connections::finish(Connection& connection, std::size_t index, AnswerKind answer, int error_number) {
  connection.result.answer = answer;
  connection.result.error_number = error_number;
  connection.result.finished_ns = base::monotonic_ns();
  finished_.push_back(connection.result);
  connection.fd.reset();
  connection.phase = Phase::unused;
  free_.push_back(static_cast<std::uint32_t>(index));
}

std::optional<FinishedConnection> Connections::abandon(std::int64_t sequence) {
  for (std::size_t index = 0; index < connections_.size(); ++index) {
    Connection& connection = connections_[index];
    if (connection.phase != Phase::unused && connection.result.sequence == sequence) {
      connection.fd.reset();
      connection.phase = Phase::unused;
      free_.push_back(static_cast<std::uint32_t>(index));
      return connection.result;
    }
  }
  return std::nullopt;
}

evidence::HttpRecord FinishedConnection::phases() const {
  evidence::HttpRecord phases;
  phases.sequence = sequence;
  phases.connected_ns = connected_ns;
  phases.first_byte_ns = first_byte_ns;
  if (answer == AnswerKind::http_response) {
    phases.finished_ns = finished_ns;
    phases.status = http_status;
  }
  return phases;
}

}  // namespace stallscope::probe
