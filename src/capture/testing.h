// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Packets and capture files made by hand, for tests and benchmarks.
namespace stallscope::capture::testing {

using Buffer = std::vector<std::uint8_t>;

/// 10.0.1.1 and 10.0.1.2
inline constexpr std::uint32_t client = 0x0a000101;
inline constexpr std::uint32_t server = 0x0a000102;

inline void put_be16(Buffer& out, std::uint32_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8U));
  out.push_back(static_cast<std::uint8_t>(value));
}
inline void put_be32(Buffer& out, std::uint32_t value) {
  put_be16(out, value >> 16U);
  put_be16(out, value & 0xffffU);
}
inline void put16(Buffer& out, std::uint32_t value, bool big = false) {
  out.push_back(static_cast<std::uint8_t>(big ? value >> 8U : value));
  out.push_back(static_cast<std::uint8_t>(big ? value : value >> 8U));
}
inline void put32(Buffer& out, std::uint32_t value, bool big = false) {
  put16(out, big ? value >> 16U : value & 0xffffU, big);
  put16(out, big ? value & 0xffffU : value >> 16U, big);
}
inline void append(Buffer& out, const Buffer& more) {
  out.insert(out.end(), more.begin(), more.end());
}

inline Buffer ethernet(std::uint16_t type, const Buffer& payload) {
  Buffer out(12, 0x02);
  put_be16(out, type);
  append(out, payload);
  return out;
}
inline Buffer ipv4(std::uint32_t source, std::uint32_t destination, std::uint8_t protocol, const Buffer& payload,
                   std::uint16_t fragment = 0) {
  Buffer out = {0x45, 0};
  put_be16(out, static_cast<std::uint32_t>(20 + payload.size()));
  put_be16(out, 0x1234);
  put_be16(out, fragment);
  out.push_back(64);
  out.push_back(protocol);
  put_be16(out, 0);
  put_be32(out, source);
  put_be32(out, destination);
  append(out, payload);
  return out;
}
inline Buffer ipv6(std::uint8_t last_of_source, std::uint8_t last_of_destination, std::uint8_t next, const Buffer& payload) {
  Buffer out = {0x60, 0, 0, 0};
  put_be16(out, static_cast<std::uint32_t>(payload.size()));
  out.push_back(next);
  out.push_back(64);
  for (const std::uint8_t last : {last_of_source, last_of_destination}) {
    out.push_back(0xfd);
    out.insert(out.end(), 14, 0);
    out.push_back(last);
  }
  append(out, payload);
  return out;
}
/// With a timestamp option where `timestamp` is not 0.
inline Buffer tcp(std::uint16_t source, std::uint16_t destination, std::uint32_t sequence, std::uint32_t acknowledgement,
                  std::uint8_t flags, std::uint32_t timestamp = 0, std::uint32_t echo = 0) {
  Buffer out;
  put_be16(out, source);
  put_be16(out, destination);
  put_be32(out, sequence);
  put_be32(out, acknowledgement);
  out.push_back(timestamp != 0 || echo != 0 ? 0x80 : 0x50);
  out.push_back(flags);
  put_be16(out, 0xffff);
  put_be32(out, 0);
  if (timestamp != 0 || echo != 0) {
    append(out, {1, 1, 8, 10});
    put_be32(out, timestamp);
    put_be32(out, echo);
  }
  return out;
}
inline Buffer echo(std::uint8_t type, std::uint16_t id, std::uint16_t sequence) {
  Buffer out = {type, 0, 0, 0};
  put_be16(out, id);
  put_be16(out, sequence);
  out.insert(out.end(), 16, 0x55);
  return out;
}

/// A pcap file's header, and its records.
inline Buffer pcap_header(std::uint32_t link = 1, bool big = false, bool nanoseconds = true) {
  Buffer out;
  put32(out, nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, big);
  put16(out, 2, big);
  put16(out, 4, big);
  put32(out, 0, big);
  put32(out, 0, big);
  put32(out, 262'144, big);
  put32(out, link, big);
  return out;
}
inline void pcap_record(Buffer& out, std::uint64_t time_ns, const Buffer& packet, bool big = false, bool nanoseconds = true) {
  put32(out, static_cast<std::uint32_t>(time_ns / 1'000'000'000), big);
  put32(out, static_cast<std::uint32_t>(time_ns % 1'000'000'000 / (nanoseconds ? 1 : 1000)), big);
  put32(out, static_cast<std::uint32_t>(packet.size()), big);
  put32(out, static_cast<std::uint32_t>(packet.size()), big);
  append(out, packet);
}

/// A block of pcapng around its body.
inline Buffer block(std::uint32_t type, Buffer body, bool big = false) {
  body.resize((body.size() + 3) / 4 * 4, 0);
  Buffer out;
  put32(out, type, big);
  put32(out, static_cast<std::uint32_t>(body.size() + 12), big);
  append(out, body);
  put32(out, static_cast<std::uint32_t>(body.size() + 12), big);
  return out;
}
inline Buffer section(bool big = false) {
  Buffer body;
  put32(body, 0x1a2b3c4d, big);
  put16(body, 1, big);
  put16(body, 0, big);
  put32(body, 0xffffffff, big);
  put32(body, 0xffffffff, big);
  return block(0x0a0d0d0a, body, big);
}
inline Buffer interface(std::uint16_t link, std::uint8_t resolution, const std::string& name = {}, bool big = false) {
  Buffer body;
  put16(body, link, big);
  put16(body, 0, big);
  put32(body, 0, big);
  put16(body, 9, big);
  put16(body, 1, big);
  append(body, {resolution, 0, 0, 0});
  if (!name.empty()) {
    put16(body, 2, big);
    put16(body, static_cast<std::uint32_t>(name.size()), big);
    body.insert(body.end(), name.begin(), name.end());
    body.resize((body.size() + 3) / 4 * 4, 0);
  }
  put32(body, 0, big);
  return block(1, body, big);
}
inline Buffer enhanced(std::uint32_t number, std::uint64_t ticks, const Buffer& packet, bool big = false) {
  Buffer body;
  put32(body, number, big);
  put32(body, static_cast<std::uint32_t>(ticks >> 32U), big);
  put32(body, static_cast<std::uint32_t>(ticks), big);
  put32(body, static_cast<std::uint32_t>(packet.size()), big);
  put32(body, static_cast<std::uint32_t>(packet.size()), big);
  append(body, packet);
  return block(6, body, big);
}

}  // namespace stallscope::capture::testing
