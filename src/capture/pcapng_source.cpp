// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/units.h"
#include "capture/file_source.h"
#include "capture/pcap_source.h"
#include "capture/pcapng_format.h"

// draft-ietf-opsawg-pcapng; sections are given where the numbers come from.
namespace stallscope::capture {
namespace {

using namespace pcapng;  // NOLINT(google-build-using-namespace): the names of the format

constexpr std::uint16_t option_if_name = 2;
constexpr std::uint16_t option_if_tsoffset = 14;
constexpr std::uint16_t option_isb_ifdrop = 5;
constexpr unsigned power_of_two = 0x80;
constexpr unsigned most_decimal_exponent = 19;

/// How the times of an interface are counted.
struct TimeScale {
  std::uint64_t per_second = 1'000'000;
  std::int64_t offset_s = 0;

  /// Nothing where it is beyond what 63 bits of nanoseconds hold (the year 2262).
  [[nodiscard]] std::optional<std::int64_t> to_ns(std::uint64_t ticks) const {
    constexpr std::int64_t most_seconds = std::numeric_limits<std::int64_t>::max() / base::ns_per_s - 1;
    const std::uint64_t seconds = ticks / per_second;
    if (seconds > static_cast<std::uint64_t>(most_seconds) || offset_s > most_seconds || offset_s < -most_seconds) {
      return std::nullopt;
    }
    const std::int64_t all_seconds = static_cast<std::int64_t>(seconds) + offset_s;
    if (all_seconds < 0 || all_seconds > most_seconds) {
      return std::nullopt;
    }
    // 128 bits hold any 64-bit time in nanoseconds.
    __extension__ using Wide = unsigned __int128;
    const Wide fraction = static_cast<Wide>(ticks % per_second) * static_cast<Wide>(base::ns_per_s) / per_second;
    return (all_seconds * base::ns_per_s) + static_cast<std::int64_t>(fraction);
  }
};

std::optional<std::uint64_t> resolution_of(std::uint8_t value) {
  const unsigned exponent = value & (power_of_two - 1);
  if ((value & power_of_two) != 0) {
    return exponent < 64 ? std::optional(std::uint64_t{1} << exponent) : std::nullopt;
  }
  if (exponent > most_decimal_exponent) {
    return std::nullopt;
  }
  std::uint64_t per_second = 1;
  for (unsigned i = 0; i < exponent; ++i) {
    per_second *= 10;
  }
  return per_second;
}

class PcapngSource : public FileSource {
 public:
  explicit PcapngSource(std::unique_ptr<ByteSource> bytes) : FileSource(std::move(bytes)) {}

  base::Result<std::size_t> next(std::span<Packet> batch) override {
    std::size_t wanted = block_overhead_bytes;
    while (!ended()) {
      const base::Result<Bytes> window = bytes().fill(wanted);
      if (!window) {
        return window.error();
      }
      if (window->size() < wanted) {
        end_in_record(window->size());
        break;
      }
      wanted = block_overhead_bytes;
      std::uint64_t to_skip = 0;
      const std::size_t count = parse(*window, batch, wanted, to_skip);
      if (count > 0) {
        return count;
      }
      if (to_skip > 0) {
        if (const base::Status skipped = bytes().skip(to_skip); !skipped) {
          return skipped.error();
        }
      }
    }
    return std::size_t{0};
  }

 private:
  /// Takes whole blocks from the window until the batch is full, a block is cut off (`wanted` says what it needs), or a long one
  /// comes that is of no use here (`to_skip`). The latter two only where no packet was found before.
  std::size_t parse(Bytes window, std::span<Packet> batch, std::size_t& wanted, std::uint64_t& to_skip) {
    std::size_t at = 0;
    std::size_t count = 0;
    while (count < batch.size() && window.size() - at >= block_overhead_bytes) {
      const std::uint8_t* const block = window.data() + at;
      if (load<std::uint32_t>(block) == section_header && !learn_byte_order(block, swap_)) {
        end_at(count, "a section header has no byte-order magic");
        break;
      }
      const auto type = load_file<std::uint32_t>(block, swap_);
      const auto length = load_file<std::uint32_t>(block + 4, swap_);
      if (length < block_overhead_bytes || length % alignment != 0) {
        end_at(count, fmt::format("a block claims a length of {} bytes", base::format_count(length)));
        break;
      }
      const bool useful = type == section_header || type == interface_description || type == obsolete_packet ||
                          type == enhanced_packet || type == interface_statistics;
      if (window.size() - at < length) {
        if (!useful) {
          to_skip = count == 0 ? length : 0;
        } else if (length > most_block_bytes) {
          end_at(count, fmt::format("a packet's block claims {} bytes", base::format_count(length)));
        } else {
          wanted = length;
        }
        break;
      }
      if (load_file<std::uint32_t>(block + length - 4, swap_) != length) {
        end_at(count, "the two lengths of a block differ");
        break;
      }
      count += take(type, Bytes(block + 8, length - block_overhead_bytes), batch[count]) ? 1U : 0U;
      at += length;
    }
    bytes().consume(at);
    return count;
  }

  /// Packets before the damage are delivered first; the next call finds it again.
  void end_at(std::size_t count, std::string damage) {
    if (count == 0) {
      end(std::move(damage));
    }
  }

  /// Whether the block holds a packet.
  bool take(std::uint32_t type, Bytes body, Packet& packet) {
    switch (type) {
      case section_header:
        // Interfaces are numbered anew in each section.
        first_interface_ = interfaces().size();
        return false;
      case interface_description:
        describe(body);
        return false;
      case enhanced_packet:
      case obsolete_packet:
        return take_packet(type, body, packet);
      case simple_packet:
        ++number_;
        ++trouble_list().skipped_count;
        return false;
      case interface_statistics:
        count_drops(body);
        return false;
      default:
        return false;
    }
  }

  void describe(Bytes body) {
    if (body.size() < interface_fields_bytes || interfaces().size() >= most_interfaces) {
      end("there are more interfaces than any capture has");
      return;
    }
    Interface interface;
    TimeScale scale;
    bool known_scale = true;
    interface.link = load_file<std::uint16_t>(body.data(), swap_);
    interface.snap_length = load_file<std::uint32_t>(body.data() + 4, swap_);
    pcapng::each_option(body.subspan(interface_fields_bytes), swap_, [&](std::uint16_t code, Bytes value) {
      if (code == option_if_name) {
        interface.name.assign(value.begin(), value.end());
      } else if (code == option_if_tsresol && !value.empty()) {
        const std::optional<std::uint64_t> per_second = resolution_of(value[0]);
        known_scale = per_second.has_value();
        scale.per_second = per_second.value_or(1);
      } else if (code == option_if_tsoffset && value.size() >= sizeof(std::uint64_t)) {
        scale.offset_s = static_cast<std::int64_t>(load_file<std::uint64_t>(value.data(), swap_));
      }
    });
    interface_list().push_back(std::move(interface));
    scales_.push_back(known_scale ? std::optional(scale) : std::nullopt);
  }

  void count_drops(Bytes body) {
    if (body.size() < statistics_fields_bytes) {
      return;
    }
    pcapng::each_option(body.subspan(statistics_fields_bytes), swap_, [&](std::uint16_t code, Bytes value) {
      if (code == option_isb_ifdrop && value.size() >= sizeof(std::uint64_t)) {
        const auto dropped = load_file<std::uint64_t>(value.data(), swap_);
        constexpr std::uint64_t believable = std::uint64_t{1} << 48U;
        trouble_list().dropped_count += static_cast<std::int64_t>(std::min(dropped, believable) & (believable - 1));
      }
    });
  }

  bool take_packet(std::uint32_t type, Bytes body, Packet& packet) {
    ++number_;
    if (body.size() < packet_fields_bytes) {
      ++trouble_list().skipped_count;
      return false;
    }
    const std::uint8_t* const fields = body.data();
    const std::uint64_t number = first_interface_ + (type == enhanced_packet ? load_file<std::uint32_t>(fields, swap_)
                                                                             : load_file<std::uint16_t>(fields, swap_));
    const auto captured = load_file<std::uint32_t>(fields + 12, swap_);
    if (number >= interfaces().size() || captured > body.size() - packet_fields_bytes || captured > most_packet_bytes) {
      ++trouble_list().skipped_count;
      return false;
    }
    const auto index = static_cast<std::size_t>(number);
    const std::uint64_t ticks = (static_cast<std::uint64_t>(load_file<std::uint32_t>(fields + 4, swap_)) << 32U) |
                                load_file<std::uint32_t>(fields + 8, swap_);
    const std::optional<std::int64_t> time_ns = scales_[index] ? scales_[index]->to_ns(ticks) : std::nullopt;
    if (!time_ns) {
      ++trouble_list().skipped_count;
      return false;
    }
    packet.time_ns = *time_ns;
    packet.data = body.subspan(packet_fields_bytes, captured);
    packet.wire_size = load_file<std::uint32_t>(fields + 16, swap_);
    packet.link = interfaces()[index].link;
    packet.interface = static_cast<std::uint32_t>(index);
    packet.number = number_;
    return true;
  }

  bool swap_ = false;
  std::uint32_t number_ = 0;
  std::size_t first_interface_ = 0;
  /// By interface; nothing where its resolution cannot be expressed.
  std::vector<std::optional<TimeScale>> scales_;
};

}  // namespace

std::unique_ptr<PacketSource> pcapng_source(std::unique_ptr<ByteSource> bytes) {
  return std::make_unique<PcapngSource>(std::move(bytes));
}

}  // namespace stallscope::capture
