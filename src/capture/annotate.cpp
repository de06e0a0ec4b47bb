// SPDX-License-Identifier: Apache-2.0
#include "capture/annotate.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "base/replacing_file.h"
#include "base/units.h"
#include "capture/byte_source.h"
#include "capture/file_source.h"
#include "capture/pcapng_format.h"

namespace stallscope::capture {
namespace {

using base::Result;
using base::Status;
using Buffer = std::vector<std::uint8_t>;

constexpr std::size_t packets_at_once = 256;
constexpr std::int64_t blocks_between_questions = 1'024;

void append(Buffer& out, Bytes bytes) {
  const std::size_t before = out.size();
  out.resize(before + bytes.size());
  std::copy(bytes.begin(), bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(before));
}

template <typename Number>
void put(Buffer& out, Number value, bool swap) {
  const Number stored = swap ? swapped(value) : value;
  append(out, Bytes(reinterpret_cast<const std::uint8_t*>(&stored), sizeof(stored)));
}

void put_padded(Buffer& out, Bytes bytes) {
  append(out, bytes);
  out.resize(out.size() + pcapng::padded(bytes.size()) - bytes.size(), 0);
}

void put_comment(Buffer& out, const std::string& text, bool swap) {
  const std::size_t size = std::min<std::size_t>(text.size(), std::numeric_limits<std::uint16_t>::max());
  put(out, pcapng::option_comment, swap);
  put(out, static_cast<std::uint16_t>(size), swap);
  put_padded(out, Bytes(reinterpret_cast<const std::uint8_t*>(text.data()), size));
}

/// Goes through the packets in order and hands out their comments.
class Comments {
 public:
  explicit Comments(const Annotations& annotations) : annotations_(annotations) {}

  /// Whether the next packet has any.
  [[nodiscard]] bool next_packet() {
    ++number_;
    ++annotated_.packet_count;
    return next_ < annotations_.packets.size() && annotations_.packets[next_] == number_;
  }
  void put_all(Buffer& options, bool swap) {
    for (; next_ < annotations_.packets.size() && annotations_.packets[next_] == number_; ++next_) {
      put_comment(options, annotations_.comment(next_), swap);
      ++annotated_.comment_count;
    }
  }
  [[nodiscard]] const std::string& summary() const { return annotations_.summary; }
  [[nodiscard]] const Annotated& annotated() const { return annotated_; }

 private:
  const Annotations& annotations_;
  std::size_t next_ = 0;
  std::uint32_t number_ = 0;
  Annotated annotated_;
};

/// What is written, with the blocks around it.
class Output {
 public:
  Output(base::ReplacingFile file, const std::function<bool()>& interrupted) : file_(std::move(file)), interrupted_(interrupted) {}

  [[nodiscard]] Status block(std::uint32_t type, const Buffer& body, bool swap) {
    const auto length = static_cast<std::uint32_t>(body.size() + pcapng::block_overhead_bytes);
    whole_.clear();
    put(whole_, type, swap);
    put(whole_, length, swap);
    append(whole_, body);
    put(whole_, length, swap);
    return copy(whole_);
  }
  [[nodiscard]] Status copy(Bytes bytes) {
    if (++block_count_ % blocks_between_questions == 0 && interrupted_()) {
      return base::Error{"annotate", "the capture", "it was interrupted", "Nothing was written. Run it again to have it."};
    }
    return file_.write(bytes);
  }
  [[nodiscard]] Status commit() { return file_.commit(); }

 private:
  base::ReplacingFile file_;
  const std::function<bool()>& interrupted_;
  std::int64_t block_count_ = 0;
  Buffer whole_;
};

/// `fields`, the options that were there, and the comments.
Status write_with_comments(Output& output, std::uint32_t type, Bytes fields, Bytes options, const Buffer& comments, bool swap) {
  Buffer body(fields.begin(), fields.end());
  const std::size_t whole = pcapng::each_option(options, swap, [](std::uint16_t /*code*/, Bytes /*value*/) {});
  append(body, options.first(whole));
  append(body, comments);
  put(body, std::uint32_t{pcapng::option_end}, swap);
  return output.block(type, body, swap);
}

Status write_section(Output& output, const Comments& comments) {
  Buffer section;
  put(section, pcapng::byte_order_magic, false);
  put(section, std::uint16_t{1}, false);
  put(section, std::uint16_t{0}, false);
  put(section, std::numeric_limits<std::uint64_t>::max(), false);
  Buffer summary;
  put_comment(summary, comments.summary(), false);
  return write_with_comments(output, pcapng::section_header, section, {}, summary, false);
}

/// Times are nanoseconds, which hold the microseconds of others as well.
Status write_interface(Output& output, const Interface& interface) {
  Buffer body;
  put(body, static_cast<std::uint16_t>(interface.link), false);
  put(body, std::uint16_t{0}, false);
  put(body, interface.snap_length, false);
  put(body, pcapng::option_if_tsresol, false);
  put(body, std::uint16_t{1}, false);
  constexpr std::uint8_t nanoseconds = 9;
  put_padded(body, std::array<std::uint8_t, 1>{nanoseconds});
  put(body, std::uint32_t{pcapng::option_end}, false);
  return output.block(pcapng::interface_description, body, false);
}

Status write_packet(Output& output, const Packet& packet, Comments& comments) {
  const auto time_ns = static_cast<std::uint64_t>(packet.time_ns);
  Buffer fields;
  put(fields, packet.interface, false);
  put(fields, static_cast<std::uint32_t>(time_ns >> 32U), false);
  put(fields, static_cast<std::uint32_t>(time_ns), false);
  put(fields, static_cast<std::uint32_t>(packet.data.size()), false);
  put(fields, packet.wire_size, false);
  put_padded(fields, packet.data);
  if (!comments.next_packet()) {
    return output.block(pcapng::enhanced_packet, fields, false);
  }
  Buffer options;
  comments.put_all(options, false);
  return write_with_comments(output, pcapng::enhanced_packet, fields, {}, options, false);
}

/// Of pcap, which has one interface.
Status write_packets(PacketSource& source, Output& output, Comments& comments) {
  Status written = write_section(output, comments);
  bool described = false;
  std::array<Packet, packets_at_once> batch;
  while (written && !source.ended()) {
    const Result<std::size_t> count = source.next(batch);
    if (!count) {
      return count.error();
    }
    if (!described && !source.interfaces().empty()) {
      described = true;
      written = write_interface(output, source.interfaces().front());
    }
    for (std::size_t at = 0; written && at < *count; ++at) {
      written = write_packet(output, batch[at], comments);
    }
  }
  return written;
}

/// A block of pcapng, whole and with the same length at both ends.
Status rewrite_block(std::uint32_t type, Bytes block, bool swap, Output& output, Comments& comments, bool& summarised) {
  const Bytes body = block.subspan(8, block.size() - pcapng::block_overhead_bytes);
  const bool packet = type == pcapng::enhanced_packet || type == pcapng::obsolete_packet;
  if (type == pcapng::section_header && !summarised && body.size() >= pcapng::section_fields_bytes) {
    summarised = true;
    Buffer fields(body.begin(), body.begin() + pcapng::section_fields_bytes);
    // The section grows: its length becomes "not told".
    std::fill_n(fields.begin() + 8, sizeof(std::uint64_t), std::uint8_t{0xff});
    Buffer summary;
    put_comment(summary, comments.summary(), swap);
    return write_with_comments(output, type, fields, body.subspan(pcapng::section_fields_bytes), summary, swap);
  }
  const bool commented = (packet || type == pcapng::simple_packet) && comments.next_packet();
  if (!commented || !packet || body.size() < pcapng::packet_fields_bytes) {
    if (type != pcapng::section_header) {
      return output.copy(block);
    }
    Buffer same(body.begin(), body.end());
    std::fill_n(same.begin() + 8, std::min<std::size_t>(sizeof(std::uint64_t), same.size() - 8), std::uint8_t{0xff});
    return output.block(type, same, swap);
  }
  const auto captured = load_file<std::uint32_t>(body.data() + 12, swap);
  const std::size_t fields_bytes = pcapng::packet_fields_bytes + pcapng::padded(captured);
  if (captured > most_packet_bytes || fields_bytes > body.size()) {
    return output.copy(block);
  }
  Buffer options;
  comments.put_all(options, swap);
  return write_with_comments(output, type, body.first(fields_bytes), body.subspan(fields_bytes), options, swap);
}

Status rewrite_blocks(ByteSource& bytes, Output& output, Comments& comments) {
  bool swap = false;
  bool summarised = false;
  while (true) {
    const Result<Bytes> head = bytes.fill(pcapng::block_overhead_bytes);
    if (!head) {
      return head.error();
    }
    if (head->size() < pcapng::block_overhead_bytes) {
      return base::ok();
    }
    if (load<std::uint32_t>(head->data()) == pcapng::section_header && !pcapng::learn_byte_order(head->data(), swap)) {
      return base::ok();
    }
    const auto type = load_file<std::uint32_t>(head->data(), swap);
    const auto length = load_file<std::uint32_t>(head->data() + 4, swap);
    if (length < pcapng::block_overhead_bytes || length % pcapng::alignment != 0 || length > most_block_bytes) {
      return base::ok();
    }
    const Result<Bytes> window = bytes.fill(length);
    if (!window) {
      return window.error();
    }
    if (window->size() < length || load_file<std::uint32_t>(window->data() + length - 4, swap) != length) {
      return base::ok();
    }
    if (Status written = rewrite_block(type, window->first(length), swap, output, comments, summarised); !written) {
      return written;
    }
    bytes.consume(length);
  }
}

bool is_regular(const std::string& path, struct stat& status) {
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

Status can_annotate(const std::string& from, const std::string& to) {
  struct stat source {};
  struct stat target {};
  if (from == "-" || !is_regular(from, source)) {
    return base::Error{"annotate", from == "-" ? "standard input" : from, "it can be read only once, and has to be read twice",
                       "Keep it first, for example with: tee FILE.pcap; then: stallscope capture FILE.pcap --annotate " + to};
  }
  if (is_regular(to, target) && source.st_dev == target.st_dev && source.st_ino == target.st_ino) {
    return base::Error{"annotate", from, "the annotated capture would take its place", "Name another file with --annotate."};
  }
  return base::ok();
}

Result<Annotated> annotate(const std::string& from, const std::string& to, const Annotations& annotations,
                           const std::function<bool()>& interrupted) {
  if (const Status possible = can_annotate(from, to); !possible) {
    return possible.error();
  }
  Result<std::unique_ptr<ByteSource>> bytes = open_bytes(from);
  if (!bytes) {
    return bytes.error();
  }
  const Result<Bytes> start = (*bytes)->fill(sizeof(std::uint32_t));
  if (!start) {
    return start.error();
  }
  Result<base::ReplacingFile> file = base::ReplacingFile::create(to);
  if (!file) {
    return file.error();
  }
  Output output(*std::move(file), interrupted);
  Comments comments(annotations);
  Status written = base::ok();
  if (start->size() >= sizeof(std::uint32_t) && load<std::uint32_t>(start->data()) == pcapng_magic) {
    written = rewrite_blocks(**bytes, output, comments);
  } else {
    Result<std::unique_ptr<PacketSource>> source = read_packets(*std::move(bytes), from);
    if (!source) {
      return source.error();
    }
    written = write_packets(**source, output, comments);
  }
  if (written) {
    written = output.commit();
  }
  if (!written) {
    return written.error();
  }
  return comments.annotated();
}

}  // namespace stallscope::capture
