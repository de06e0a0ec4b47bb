// SPDX-License-Identifier: Apache-2.0
#include "host/ethtool_netlink.h"

#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

namespace stallscope::host {
namespace {

// enum of ETHTOOL_A_RSS_*, include/uapi/linux/ethtool_netlink_generated.h.
constexpr std::uint16_t attribute_header = 1;
constexpr std::uint16_t attribute_hash_function = 3;
constexpr std::uint16_t attribute_table = 4;
constexpr std::uint16_t attribute_key = 5;
constexpr std::uint16_t attribute_transform = 6;

constexpr std::size_t alignment = 4;
// The kernel's headers have these as int.
constexpr std::size_t attribute_header_bytes = 4;
constexpr std::size_t message_header_bytes = sizeof(nlmsghdr);
constexpr std::size_t generic_header_bytes = sizeof(genlmsghdr);

constexpr std::size_t aligned(std::size_t size) {
  return (size + alignment - 1) / alignment * alignment;
}

template <typename Value>
void append(std::vector<std::byte>& bytes, const Value& value) {
  // Not insert(): g++ 12 takes the bytes it moves at -O3 for an overflow of an empty vector.
  const std::size_t before = bytes.size();
  bytes.resize(before + sizeof(Value));
  std::memcpy(bytes.data() + before, &value, sizeof(Value));
}

/// A number at the start of the bytes, in the byte order of the machine; nothing where there are too few.
template <typename Value>
std::optional<Value> read(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(Value)) {
    return std::nullopt;
  }
  Value value{};
  std::memcpy(&value, bytes.data(), sizeof(Value));
  return value;
}

void append_attribute(std::vector<std::byte>& bytes, std::uint16_t type, std::span<const std::byte> content) {
  append(bytes, static_cast<std::uint16_t>(attribute_header_bytes + content.size()));
  append(bytes, type);
  bytes.insert(bytes.end(), content.begin(), content.end());
  bytes.resize(aligned(bytes.size()));
}

std::vector<std::byte> terminated(std::string_view text) {
  std::vector<std::byte> bytes(text.size() + 1);
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::vector<std::byte> request(std::uint16_t family, std::uint32_t sequence, std::uint8_t command,
                               std::span<const std::byte> attributes) {
  std::vector<std::byte> bytes;
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(message_header_bytes + generic_header_bytes + attributes.size());
  header.nlmsg_type = family;
  header.nlmsg_flags = NLM_F_REQUEST;
  header.nlmsg_seq = sequence;
  append(bytes, header);
  genlmsghdr generic{};
  generic.cmd = command;
  generic.version = 1;
  append(bytes, generic);
  bytes.insert(bytes.end(), attributes.begin(), attributes.end());
  return bytes;
}

using OnAttribute = std::function<void(std::uint16_t type, std::span<const std::byte> content)>;

/// False where the bytes are not attributes one after the other.
bool for_each_attribute(std::span<const std::byte> bytes, const OnAttribute& on_attribute) {
  while (!bytes.empty()) {
    const auto size = read<std::uint16_t>(bytes);
    if (!size || *size < attribute_header_bytes || *size > bytes.size()) {
      return false;
    }
    const auto type = read<std::uint16_t>(bytes.subspan(sizeof(std::uint16_t)));
    if (!type) {
      return false;
    }
    on_attribute(static_cast<std::uint16_t>(*type & NLA_TYPE_MASK),
                 bytes.subspan(attribute_header_bytes, *size - attribute_header_bytes));
    bytes = bytes.subspan(std::min(aligned(*size), bytes.size()));
  }
  return true;
}

/// The attributes of the message with that sequence.
base::Result<std::span<const std::byte>> find_reply(std::span<const std::byte> bytes, std::uint32_t sequence,
                                                    const std::string& object) {
  const base::Error malformed{"ask about", object, "the kernel's answer is not understood", ""};
  while (!bytes.empty()) {
    const auto header = read<nlmsghdr>(bytes);
    if (!header || header->nlmsg_len < message_header_bytes || header->nlmsg_len > bytes.size()) {
      return malformed;
    }
    const auto body = bytes.subspan(message_header_bytes, header->nlmsg_len - message_header_bytes);
    bytes = bytes.subspan(std::min(aligned(header->nlmsg_len), bytes.size()));
    if (header->nlmsg_seq != sequence) {
      continue;
    }
    if (header->nlmsg_type == NLMSG_ERROR) {
      const auto code = read<std::int32_t>(body);
      if (!code || *code > 0 || *code < -4095) {
        return malformed;
      }
      return base::errno_error("ask about", object, *code == 0 ? ENODATA : -*code);
    }
    if (body.size() < generic_header_bytes) {
      return malformed;
    }
    return body.subspan(generic_header_bytes);
  }
  return malformed;
}

}  // namespace

std::vector<std::byte> family_request(std::uint32_t sequence, std::string_view name) {
  std::vector<std::byte> attributes;
  append_attribute(attributes, CTRL_ATTR_FAMILY_NAME, terminated(name));
  return request(GENL_ID_CTRL, sequence, CTRL_CMD_GETFAMILY, attributes);
}

std::vector<std::byte> rss_request(std::uint16_t family, std::uint32_t sequence, std::string_view device) {
  std::vector<std::byte> header;
  append_attribute(header, ETHTOOL_A_HEADER_DEV_NAME, terminated(device));
  std::vector<std::byte> attributes;
  append_attribute(attributes, attribute_header | NLA_F_NESTED, header);
  return request(family, sequence, ethtool_msg_rss_get, attributes);
}

base::Result<std::uint16_t> parse_family_reply(std::span<const std::byte> bytes, std::uint32_t sequence) {
  const auto attributes = find_reply(bytes, sequence, "the ethtool family of netlink");
  if (!attributes) {
    return attributes.error();
  }
  std::optional<std::uint16_t> family;
  const bool whole = for_each_attribute(*attributes, [&](std::uint16_t type, std::span<const std::byte> content) {
    if (type == CTRL_ATTR_FAMILY_ID) {
      family = read<std::uint16_t>(content);
    }
  });
  if (!whole || !family) {
    return base::Error{"ask about", "the ethtool family of netlink", "the kernel's answer is not understood", ""};
  }
  return *family;
}

base::Result<RssReply> parse_rss_reply(std::span<const std::byte> bytes, std::uint32_t sequence, std::string_view device) {
  const std::string object = "receive hashing of " + std::string(device);
  const auto attributes = find_reply(bytes, sequence, object);
  if (!attributes) {
    return attributes.error();
  }
  RssReply reply;
  bool sound = true;
  const bool whole = for_each_attribute(*attributes, [&](std::uint16_t type, std::span<const std::byte> content) {
    switch (type) {
      case attribute_hash_function:
        reply.hash_function = read<std::uint32_t>(content);
        sound = sound && reply.hash_function;
        break;
      case attribute_table:
        sound = sound && content.size() % sizeof(std::uint32_t) == 0;
        reply.table.resize(content.size() / sizeof(std::uint32_t));
        if (!reply.table.empty()) {
          std::memcpy(reply.table.data(), content.data(), reply.table.size() * sizeof(std::uint32_t));
        }
        break;
      case attribute_key:
        reply.key.resize(content.size());
        if (!reply.key.empty()) {
          std::memcpy(reply.key.data(), content.data(), content.size());
        }
        break;
      case attribute_transform:
        reply.input_transform = read<std::uint32_t>(content);
        sound = sound && reply.input_transform;
        break;
      default:
        break;
    }
  });
  if (!whole || !sound) {
    return base::Error{"ask about", object, "the kernel's answer is not understood", ""};
  }
  return reply;
}

}  // namespace stallscope::host
