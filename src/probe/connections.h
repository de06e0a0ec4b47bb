// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "evidence/records.h"
#include "probe/endpoint.h"
#include "probe/http_reader.h"

namespace stallscope::probe {

/// How a connection ended.
struct FinishedConnection {
  std::int64_t sequence = 0;
  /// syn_ack, reset or http_response; none where it broke off: error_number says why (EPROTO: what came was no HTTP).
  evidence::AnswerKind answer = evidence::AnswerKind::none;
  int error_number = 0;
  /// Of HTTP, by this process's clock: when connected, when the first byte came, when the response was complete. -1: never.
  std::int64_t connected_ns = -1;
  std::int64_t first_byte_ns = -1;
  std::int64_t finished_ns = -1;
  std::int32_t http_status = 0;

  /// Of HTTP.
  [[nodiscard]] evidence::HttpRecord phases() const;
};

/// Probes that are connections of the kernel's: connect(2) alone, or an HTTP GET. Non-blocking, a fixed number at once. Every time
/// is when this process noticed, so it contains the delay of its own waking. Allocates in open() only. Not thread-safe.
class Connections {
 public:
  /// For `capacity` connections at once, with memory for as many HTTP heads (8 KiB each).
  [[nodiscard]] static base::Result<Connections> open(std::size_t capacity);

  /// Readable while something is to be collected.
  [[nodiscard]] int fd() const { return epoll_.get(); }
  [[nodiscard]] bool full() const { return free_.empty(); }
  /// Begins one. `request`, which must outlive it, is sent once connected; empty: it is closed then, by a reset, so that neither
  /// side keeps it in TIME_WAIT. 0, or the errno of why it could not begin. Where the answer is immediate, collect() tells it.
  int start(std::int64_t sequence, const Endpoint& to, const std::string& request);
  /// What has ended since, as many as fit; call again until empty. Valid until the next call.
  [[nodiscard]] std::span<const FinishedConnection> collect();
  /// Ends one that nobody waits for any more, and says how far it came; nothing where there is none.
  std::optional<FinishedConnection> abandon(std::int64_t sequence);

 private:
  enum class Phase : std::uint8_t { unused, connecting, sending, reading };
  struct Connection {
    base::OwnedFd fd;
    Phase phase = Phase::unused;
    FinishedConnection result;
    const std::string* request = nullptr;
    std::size_t sent_bytes = 0;
    HttpReader reader;
  };
  static constexpr std::size_t batch_size = 64;

  Connections() = default;
  void advance(Connection& connection, std::size_t index);
  void connected(Connection& connection, std::size_t index);
  void read_response(Connection& connection, std::size_t index);
  void finish(Connection& connection, std::size_t index, evidence::AnswerKind answer, int error_number);
  void watch(std::size_t index, unsigned events, int operation);

  base::OwnedFd epoll_;
  std::vector<Connection> connections_;
  std::vector<std::uint32_t> free_;
  std::vector<FinishedConnection> finished_;
  std::vector<FinishedConnection> collected_;
};

}  // namespace stallscope::probe
