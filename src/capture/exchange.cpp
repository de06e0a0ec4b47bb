// SPDX-License-Identifier: Apache-2.0
#include "capture/exchange.h"

#include <sys/random.h>

#include <array>

#include "base/clock.h"

namespace stallscope::capture {

std::string_view exchange_kind_id(ExchangeKind kind) {
  constexpr std::array<std::string_view, 5> ids = {"none", "handshake", "echo", "data", "response"};
  return ids.at(static_cast<std::size_t>(kind));
}

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  // Early in boot there may be none yet; the time is hard to guess as well.
  return ::getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed) ? seed : static_cast<std::uint64_t>(base::monotonic_ns());
}

}  // namespace stallscope::capture
