// SPDX-License-Identifier: Apache-2.0
#include "capture/pcap_source.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "capture/file_source.h"

namespace stallscope::capture {
namespace {

// draft-ietf-opsawg-pcap, sections 4 and 5.
constexpr std::size_t file_header_bytes = 24;
constexpr std::size_t record_header_bytes = 16;
/// The link type is in the lower 16 bits; above are the length of the frame check sequence and reserved bits.
constexpr std::uint32_t link_type_mask = 0xffff;

class PcapSource : public FileSource {
 public:
  PcapSource(std::unique_ptr<ByteSource> bytes, bool swap, bool nanoseconds)
      : FileSource(std::move(bytes)), swap_(swap), fraction_ns_(nanoseconds ? 1 : base::ns_per_us) {}

  base::Result<std::size_t> next(std::span<Packet> batch) override {
    if (ended()) {
      return std::size_t{0};
    }
    if (interfaces().empty()) {
      if (const base::Status header = read_header(); !header) {
        return header.error();
      }
    }
    std::size_t wanted = record_header_bytes;
    while (!ended()) {
      const base::Result<Bytes> window = bytes().fill(wanted);
      if (!window) {
        return window.error();
      }
      if (window->size() < wanted) {
        end_in_record(window->size());
        break;
      }
      const std::size_t count = parse(*window, batch, wanted);
      if (count > 0) {
        return count;
      }
    }
    return std::size_t{0};
  }

 private:
  base::Status read_header() {
    const base::Result<Bytes> window = bytes().fill(file_header_bytes);
    if (!window) {
      return window.error();
    }
    Interface interface;
    if (window->size() < file_header_bytes) {
      end("the file ends within its header");
    } else {
      interface.snap_length = load_file<std::uint32_t>(window->data() + 16, swap_);
      interface.link = load_file<std::uint32_t>(window->data() + 20, swap_) & link_type_mask;
      bytes().consume(file_header_bytes);
    }
    interface_list().push_back(interface);
    return base::ok();
  }

  /// As many packets as are whole in the window; where there is none, `wanted` becomes what the next one needs.
  std::size_t parse(Bytes window, std::span<Packet> batch, std::size_t& wanted) {
    const std::uint8_t* const data = window.data();
    const std::uint32_t link = interfaces().front().link;
    std::size_t at = 0;
    std::size_t count = 0;
    wanted = record_header_bytes;
    while (count < batch.size() && window.size() - at >= record_header_bytes) {
      const std::uint8_t* const record = data + at;
      const auto captured = load_file<std::uint32_t>(record + 8, swap_);
      if (captured > most_packet_bytes) {
        if (count == 0) {
          end(fmt::format("a record claims {} bytes, more than any packet has", base::format_count(captured)));
        }
        break;
      }
      if (window.size() - at - record_header_bytes < captured) {
        wanted = record_header_bytes + captured;
        break;
      }
      Packet& packet = batch[count++];
      packet.time_ns = (static_cast<std::int64_t>(load_file<std::uint32_t>(record, swap_)) * base::ns_per_s) +
                       (static_cast<std::int64_t>(load_file<std::uint32_t>(record + 4, swap_)) * fraction_ns_);
      packet.data = Bytes(record + record_header_bytes, captured);
      packet.wire_size = load_file<std::uint32_t>(record + 12, swap_);
      packet.link = link;
      packet.interface = 0;
      packet.number = ++number_;
      at += record_header_bytes + captured;
    }
    bytes().consume(at);
    return count;
  }

  bool swap_;
  std::int64_t fraction_ns_;
  std::uint32_t number_ = 0;
};

}  // namespace

void FileSource::end(std::string damage) {
  ended_ = true;
  trouble_.damage = std::move(damage);
}

void FileSource::end_in_record(std::size_t available) {
  ended_ = true;
  trouble_.truncated = available > 0;
}

std::unique_ptr<PacketSource> pcap_source(std::unique_ptr<ByteSource> bytes, bool swap, bool nanoseconds) {
  return std::make_unique<PcapSource>(std::move(bytes), swap, nanoseconds);
}

base::Result<std::unique_ptr<PacketSource>> read_packets(std::unique_ptr<ByteSource> bytes, const std::string& name) {
  const base::Result<Bytes> start = bytes->fill(sizeof(std::uint32_t));
  if (!start) {
    return start.error();
  }
  if (start->size() < sizeof(std::uint32_t)) {
    return base::Error{"read", name, start->empty() ? "it is empty" : "it is too short for a capture",
                       "A capture is what 'tcpdump -w FILE' writes."};
  }
  const auto magic = load<std::uint32_t>(start->data());
  if (magic == pcapng_magic) {
    return pcapng_source(std::move(bytes));
  }
  for (const bool swap : {false, true}) {
    const std::uint32_t ordered = swap ? swapped(magic) : magic;
    if (ordered == pcap_magic_us || ordered == pcap_magic_ns) {
      return pcap_source(std::move(bytes), swap, ordered == pcap_magic_ns);
    }
  }
  return base::Error{"read", name, "it is neither pcap nor pcapng",
                     "A capture is what 'tcpdump -w FILE' writes, as it is or compressed by gzip or zstd."};
}

base::Result<std::unique_ptr<PacketSource>> open_capture(const std::string& path) {
  base::Result<std::unique_ptr<ByteSource>> bytes = open_bytes(path);
  if (!bytes) {
    return bytes.error();
  }
  return read_packets(*std::move(bytes), path == "-" ? "standard input" : path);
}

}  // namespace stallscope::capture
