// SPDX-License-Identifier: Apache-2.0
#include "rss/hash_key.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>
#include <utility>

namespace stallscope::rss {
namespace {

constexpr std::size_t digits_of_byte = 2;

base::Error refuse_key(std::string reason) {
  return {"read", "the hash key", std::move(reason),
          "'ethtool -x DEVICE' prints it: bytes in hexadecimal, with colons between them."};
}

}  // namespace

base::Result<std::vector<std::uint8_t>> parse_key(std::string_view text) {
  constexpr int hexadecimal = 16;
  std::vector<std::uint8_t> key;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at != end;) {
    if (!key.empty() && *at == ':') {
      ++at;
    }
    if (end - at < static_cast<std::ptrdiff_t>(digits_of_byte)) {
      return refuse_key(fmt::format("it ends within its byte {}", key.size() + 1));
    }
    std::uint8_t byte = 0;
    const auto [stopped, error] = std::from_chars(at, at + digits_of_byte, byte, hexadecimal);
    if (error != std::errc{} || stopped != at + digits_of_byte) {
      return refuse_key(fmt::format("its byte {} is not two hexadecimal digits", key.size() + 1));
    }
    key.push_back(byte);
    at = stopped;
  }
  if (key.empty()) {
    return refuse_key("it is empty");
  }
  return key;
}

ReceiveQueues device_with_key(std::vector<std::uint8_t> key, std::int32_t queue_count, std::uint64_t tcp_fields) {
  ReceiveQueues queues;
  queues.device = "the given key";
  queues.queue_count = queue_count;
  queues.key = std::move(key);
  queues.hash_function = hash_toeplitz;
  queues.transform = InputTransform::none;
  queues.fields.fill(fields_addresses);
  for (const PacketKind kind : {PacketKind::tcp4, PacketKind::tcp6}) {
    queues.fields[static_cast<std::size_t>(kind)] = tcp_fields;
  }
  for (std::size_t entry = 0; entry < default_table_size; ++entry) {
    queues.table.push_back(static_cast<std::uint32_t>(entry) % static_cast<std::uint32_t>(queue_count));
  }
  return queues;
}

}  // namespace stallscope::rss
