// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/owned_fd.h"
#include "base/result.h"
#include "probe/endpoint.h"

namespace stallscope::probe {

struct ResponderOptions {
  static constexpr std::uint16_t default_port = 7099;

  /// Where to listen. An address of all zeros: everywhere of its family.
  std::vector<Endpoint> listen;
  /// Network namespace; empty for the caller's.
  std::string netns;
  /// Answers per second to one source (an IPv4 address, or the first 64 bits of an IPv6 one). More probes than that are not
  /// answered.
  std::int64_t limit_per_second = 20'000;
};

struct ResponderCounts {
  std::int64_t answered = 0;
  /// Datagrams that are no probes of ours.
  std::int64_t ignored = 0;
  std::int64_t over_limit = 0;
  /// The system refused to send.
  std::int64_t failed = 0;
};

/// Answers UDP probes of stallscope and nothing else, from the address and port that were asked, with when the kernel received each
/// and when its answer was sent. An answer is as long as its question, so that nobody can be flooded by way of it with more than
/// was sent. Remembers sources in fixed memory; when many collide, some are limited together.
class Responder {
 public:
  [[nodiscard]] static base::Result<Responder> open(const ResponderOptions& options);

  /// Where it listens, with the port the kernel chose where 0 was asked for.
  [[nodiscard]] const std::vector<Endpoint>& endpoints() const { return endpoints_; }
  /// Answers until `stop`. Blocks. Does not allocate.
  [[nodiscard]] base::Result<ResponderCounts> run(const std::stop_token& stop);

 private:
  Responder() = default;

  ResponderOptions options_;
  std::vector<base::OwnedFd> sockets_;
  std::vector<Endpoint> endpoints_;
};

}  // namespace stallscope::probe
