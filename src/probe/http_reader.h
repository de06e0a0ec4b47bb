// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace stallscope::probe {

/// Reads one HTTP/1 response (RFC 9112) as it arrives, as far as it takes to know its status and where it ends. The body is
/// counted, not kept. Pure; any bytes are safe; does not allocate.
class HttpReader {
 public:
  /// A longer head is refused: no health check has one.
  static constexpr std::size_t longest_head_bytes = 8192;
  /// Of a longer body the rest is not waited for.
  static constexpr std::uint64_t longest_body_bytes = std::uint64_t{1} << 20U;

  enum class State : std::uint8_t { reading, complete, malformed };

  /// For the next response.
  void reset();
  State take(std::span<const std::byte> bytes);
  /// The connection was closed: complete for a response whose end nothing else tells.
  State end();

  [[nodiscard]] State state() const { return state_; }
  /// From 100 to 999; 0 while it is not known.
  [[nodiscard]] std::int32_t status() const { return status_; }

 private:
  void read_head(std::string_view head);
  void count_body(std::uint64_t bytes);

  State state_ = State::reading;
  std::int32_t status_ = 0;
  std::array<char, longest_head_bytes> head_{};
  std::size_t head_bytes_ = 0;
  bool in_body_ = false;
  std::optional<std::uint64_t> content_length_;
  std::uint64_t body_bytes_ = 0;
};

}  // namespace stallscope::probe
