// SPDX-License-Identifier: Apache-2.0
#include "trace/perf/records.h"

#include <linux/perf_event.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

namespace stallscope::trace::perf {
namespace {

constexpr std::uint64_t common_sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME;
/// More than kernel.perf_event_max_stack is by default (127), as much as it can be raised to in one record.
constexpr std::uint64_t stack_limit = 1024;
constexpr std::size_t comm_limit_bytes = 16;

/// Reads one field after the other; once something is missing, everything after it is.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  T take() {
    T value{};
    const std::span<const std::byte> bytes = take_bytes(sizeof(T));
    if (complete_) {
      std::memcpy(&value, bytes.data(), sizeof(T));
    }
    return value;
  }
  std::span<const std::byte> take_bytes(std::size_t size_bytes) {
    if (!complete_ || size_bytes > bytes_.size()) {
      complete_ = false;
      return {};
    }
    const std::span<const std::byte> taken = bytes_.first(size_bytes);
    bytes_ = bytes_.subspan(size_bytes);
    return taken;
  }
  [[nodiscard]] bool complete() const { return complete_; }
  [[nodiscard]] std::size_t left_bytes() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  bool complete_ = true;
};

/// Far from any real time or count, and from where sums of them overflow.
constexpr std::uint64_t number_limit = std::uint64_t{1} << 60U;

std::int64_t as_signed(std::uint64_t value) {
  return static_cast<std::int64_t>(std::min(value, number_limit));
}

std::string text_in(std::span<const std::byte> bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return bytes.empty() ? std::string() : std::string(text, strnlen(text, std::min(bytes.size(), comm_limit_bytes)));
}

/// What sample_id_all puts at the end of every record that is no sample.
struct Trailer {
  std::int32_t tgid;
  std::int32_t tid;
  std::uint64_t time_ns;
  std::uint64_t id;
};
static_assert(sizeof(Trailer) == 24);

std::optional<Trailer> trailer_of(std::span<const std::byte> body) {
  return body.size() < sizeof(Trailer) ? std::nullopt : std::optional(Reader(body.last(sizeof(Trailer))).take<Trailer>());
}

void take_stack(Reader& reader, std::vector<std::uint64_t>& stack) {
  const auto count = reader.take<std::uint64_t>();
  const std::size_t present = reader.left_bytes() / sizeof(std::uint64_t);
  for (std::uint64_t i = 0; i < count && i < present; ++i) {
    const auto address = reader.take<std::uint64_t>();
    // Marks such as PERF_CONTEXT_KERNEL stand between the addresses.
    if (address < static_cast<std::uint64_t>(PERF_CONTEXT_MAX) && stack.size() < stack_limit) {
      stack.push_back(address);
    }
  }
  if (count > present) {
    (void)reader.take_bytes(std::numeric_limits<std::size_t>::max());
  }
}

/// The int in a field of 4 bytes, and no other.
std::optional<std::int64_t> number_in(std::span<const std::byte> raw, const Field& field) {
  if (field.size_bytes != sizeof(std::int32_t) || field.offset_bytes > raw.size() ||
      raw.size() - field.offset_bytes < field.size_bytes) {
    return std::nullopt;
  }
  return Reader(raw.subspan(field.offset_bytes)).take<std::int32_t>();
}

bool take_raw(Reader& reader, const Source& source, Event& event) {
  const auto size_bytes = reader.take<std::uint32_t>();
  const std::span<const std::byte> raw = reader.take_bytes(size_bytes);
  if (!reader.complete()) {
    return false;
  }
  const std::optional<std::int64_t> value = number_in(raw, source.value);
  event.value = value.value_or(0);
  if (source.comm.size_bytes != 0) {
    if (source.comm.offset_bytes > raw.size()) {
      return false;
    }
    const std::span<const std::byte> rest = raw.subspan(source.comm.offset_bytes);
    event.comm = text_in(rest.first(std::min<std::size_t>(rest.size(), source.comm.size_bytes)));
  }
  return value.has_value();
}

std::optional<Event> sample(const std::map<std::uint64_t, Source>& sources, std::uint16_t misc, std::span<const std::byte> body) {
  Reader reader(body);
  const auto source = sources.find(reader.take<std::uint64_t>());
  if (!reader.complete() || source == sources.end()) {
    return std::nullopt;
  }
  Event event;
  event.kind = source->second.kind;
  event.tgid = reader.take<std::int32_t>();
  event.tid = reader.take<std::int32_t>();
  event.time_ns = as_signed(reader.take<std::uint64_t>());
  if (event.kind == EventKind::clock) {
    event.in_user_space = (misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER;
    take_stack(reader, event.stack);
  } else if (!take_raw(reader, source->second, event)) {
    return std::nullopt;
  }
  return reader.complete() ? std::optional(std::move(event)) : std::nullopt;
}

std::optional<Event> notice(EventKind kind, std::span<const std::byte> body) {
  const std::optional<Trailer> trailer = trailer_of(body);
  if (!trailer) {
    return std::nullopt;
  }
  Event event;
  event.kind = kind;
  event.tgid = trailer->tgid;
  event.tid = trailer->tid;
  event.time_ns = as_signed(trailer->time_ns);
  Reader reader(body.first(body.size() - sizeof(Trailer)));
  if (kind == EventKind::lost) {
    (void)reader.take<std::uint64_t>();  // the event's id
    event.value = as_signed(reader.take<std::uint64_t>());
  } else if (kind == EventKind::renamed) {
    event.tgid = reader.take<std::int32_t>();
    event.tid = reader.take<std::int32_t>();
    event.comm = text_in(reader.take_bytes(reader.left_bytes()));
  }
  return reader.complete() ? std::optional(std::move(event)) : std::nullopt;
}

}  // namespace

std::uint64_t sample_type_of(EventKind kind) {
  return common_sample_type | (kind == EventKind::clock ? PERF_SAMPLE_CALLCHAIN : PERF_SAMPLE_RAW);
}

void RecordParser::parse(std::span<const std::byte> records, std::uint32_t cpu, std::vector<Event>& events) {
  while (!records.empty()) {
    const auto header = Reader(records).take<perf_event_header>();
    if (header.size < sizeof(header) || header.size > records.size()) {
      ++malformed_count_;
      return;  // where the next one begins is not known
    }
    const std::span<const std::byte> body = records.subspan(sizeof(header), header.size - sizeof(header));
    records = records.subspan(header.size);
    std::optional<Event> event;
    switch (header.type) {
      case PERF_RECORD_SAMPLE:
        event = sample(sources_, header.misc, body);
        break;
      case PERF_RECORD_LOST:
        event = notice(EventKind::lost, body);
        break;
      case PERF_RECORD_COMM:
        event = notice(EventKind::renamed, body);
        break;
      case PERF_RECORD_THROTTLE:
      case PERF_RECORD_UNTHROTTLE:
        event = notice(EventKind::clock_paused, body);
        break;
      default:
        continue;  // not asked for: a later kernel's
    }
    if (!event) {
      ++malformed_count_;
      continue;
    }
    event->cpu = cpu;
    events.push_back(std::move(*event));
  }
}

}  // namespace stallscope::trace::perf
