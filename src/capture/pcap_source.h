// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "capture/byte_source.h"
#include "capture/packet.h"

// The two formats that read_packets() chooses from.
namespace stallscope::capture {

inline constexpr std::uint32_t pcap_magic_us = 0xa1b2c3d4;
inline constexpr std::uint32_t pcap_magic_ns = 0xa1b23c4d;
inline constexpr std::uint32_t pcapng_magic = 0x0a0d0d0a;

/// What both have in common.
class FileSource : public PacketSource {
 public:
  explicit FileSource(std::unique_ptr<ByteSource> bytes) : bytes_(std::move(bytes)) {}
  [[nodiscard]] bool ended() const override { return ended_; }
  [[nodiscard]] const std::vector<Interface>& interfaces() const override { return interfaces_; }
  [[nodiscard]] Progress progress() const override { return bytes_->progress(); }
  [[nodiscard]] const SourceTrouble& trouble() const override { return trouble_; }

 protected:
  [[nodiscard]] ByteSource& bytes() { return *bytes_; }
  [[nodiscard]] std::vector<Interface>& interface_list() { return interfaces_; }
  [[nodiscard]] SourceTrouble& trouble_list() { return trouble_; }
  /// Nothing more can be read, because of `damage` or, where that is empty, because this is all.
  void end(std::string damage = {});
  /// The same where a record of `wanted` bytes is cut off.
  void end_in_record(std::size_t available);

 private:
  std::unique_ptr<ByteSource> bytes_;
  std::vector<Interface> interfaces_;
  SourceTrouble trouble_;
  bool ended_ = false;
};

/// `bytes` begin with the file header.
[[nodiscard]] std::unique_ptr<PacketSource> pcap_source(std::unique_ptr<ByteSource> bytes, bool swap, bool nanoseconds);
[[nodiscard]] std::unique_ptr<PacketSource> pcapng_source(std::unique_ptr<ByteSource> bytes);

}  // namespace stallscope::capture
