// SPDX-License-Identifier: Apache-2.0
#include "rss/queue_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace stallscope::rss {
namespace {

constexpr std::size_t v4_bytes = 4;
constexpr std::size_t v6_bytes = 16;
constexpr std::size_t port_bytes = 2;

/// Two fields of `size` bytes each, one after the other, transformed.
void append_pair(HashInput& input, std::span<const std::uint8_t> source, std::span<const std::uint8_t> destination,
                 InputTransform transform) {
  const std::size_t size = source.size();
  for (std::size_t at = 0; at < size; ++at) {
    const std::uint8_t both = source[at] ^ destination[at];
    const std::uint8_t any = source[at] | destination[at];
    input.bytes[input.size + at] = transform == InputTransform::none            ? source[at]
                                   : transform == InputTransform::symmetric_xor ? both
                                                                                : any;
    input.bytes[input.size + size + at] = transform == InputTransform::none ? destination[at] : both;
  }
  input.size += 2 * size;
}

std::array<std::uint8_t, port_bytes> big_endian(std::uint16_t port) {
  return {static_cast<std::uint8_t>(port >> 8U), static_cast<std::uint8_t>(port & 0xffU)};
}

base::Error refuse(const ReceiveQueues& queues, std::string reason) {
  return {"predict the receive queues of", queues.device, std::move(reason), "observe them instead: probe with many flows"};
}

}  // namespace

HashInput hash_input(const Flow& flow, std::uint64_t fields, InputTransform transform) {
  HashInput input;
  const std::size_t size = flow.v6() ? v6_bytes : v4_bytes;
  append_pair(input, std::span(flow.source).first(size), std::span(flow.destination).first(size), transform);
  if ((fields & fields_ports) != 0) {
    append_pair(input, big_endian(flow.source_port), big_endian(flow.destination_port), transform);
  }
  return input;
}

QueueMap::QueueMap(Toeplitz toeplitz, const ReceiveQueues& queues)
    : toeplitz_(std::move(toeplitz)),
      transform_(queues.transform.value_or(InputTransform::none)),
      fields_(queues.fields),
      table_(queues.table),
      queues_(queues.table) {
  std::sort(queues_.begin(), queues_.end());
  queues_.erase(std::unique(queues_.begin(), queues_.end()), queues_.end());
}

base::Result<QueueMap> QueueMap::make(const ReceiveQueues& queues) {
  if (queues.hash_function && *queues.hash_function != hash_toeplitz) {
    return refuse(queues, fmt::format("its hash function ({:#x}) is not Toeplitz", *queues.hash_function));
  }
  if (queues.key.empty()) {
    return refuse(queues, "it has no hash key, or does not give it away");
  }
  // Cards take the low bits of the hash; what they do where the size is no power of two differs.
  if (queues.table.empty() || (queues.table.size() & (queues.table.size() - 1)) != 0) {
    return refuse(queues, fmt::format("its indirection table has {} entries, which is not a power of two", queues.table.size()));
  }
  const auto wrong = std::find_if(queues.table.begin(), queues.table.end(), [&](std::uint32_t queue) {
    return queues.queue_count > 0 && queue >= static_cast<std::uint32_t>(queues.queue_count);
  });
  if (wrong != queues.table.end()) {
    return refuse(queues, fmt::format("its indirection table names queue {} of {}", *wrong, queues.queue_count));
  }
  base::Result<Toeplitz> toeplitz = Toeplitz::make(queues.key);
  if (!toeplitz) {
    return toeplitz.error();
  }
  return QueueMap(*std::move(toeplitz), queues);
}

std::optional<std::uint32_t> QueueMap::hash_of(const Flow& flow) const {
  const std::optional<std::uint64_t> fields = fields_[static_cast<std::size_t>(flow.kind)];
  const bool understood = fields && (*fields == fields_addresses || *fields == (fields_addresses | fields_ports));
  if (!understood) {
    return std::nullopt;
  }
  const HashInput input = hash_input(flow, *fields, transform_);
  if (input.size > toeplitz_.max_input()) {
    return std::nullopt;
  }
  return toeplitz_.hash(input.span());
}

std::optional<std::uint32_t> QueueMap::queue_of(const Flow& flow) const {
  const std::optional<std::uint32_t> hash = hash_of(flow);
  if (!hash) {
    return std::nullopt;
  }
  return table_[*hash & (table_.size() - 1)];
}

}  // namespace stallscope::rss
