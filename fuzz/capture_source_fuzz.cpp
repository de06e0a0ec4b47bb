// SPDX-License-Identifier: Apache-2.0
// Any bytes as a capture file: plain from memory, and through the decompressors and the buffer of a pipe. Both ways must give the
// same packets, and each packet is decoded and paired.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "capture/file_source.h"
#include "capture/observations.h"
#include "capture/tracker.h"

namespace stallscope::capture {
namespace {

/// What a fuzzer's input may unpack to; compressed zeros would else take all the time.
constexpr std::int64_t most_packets = 20'000;

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

std::int64_t read_all(base::Result<std::unique_ptr<PacketSource>> source) {
  if (!source) {
    return 0;
  }
  ObservationStore store;
  Tracker tracker(1, store);
  std::array<Packet, 16> batch;
  while (!(*source)->ended() && tracker.counts().packet_count < most_packets) {
    const base::Result<std::size_t> count = (*source)->next(batch);
    if (!count) {
      break;
    }
    for (std::size_t at = 0; at < *count; ++at) {
      require(batch[at].time_ns >= 0 && batch[at].interface < (*source)->interfaces().size());
    }
    tracker.add(std::span(batch).first(*count));
  }
  tracker.finish();
  for (const Observation& observation : store.finish()) {
    require(!observation.answered() || observation.rtt_ns() >= 0);
  }
  return tracker.counts().packet_count;
}

}  // namespace
}  // namespace stallscope::capture

// NOLINTNEXTLINE(readability-identifier-naming): the name libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stallscope;
  using namespace stallscope::capture;
  const Bytes bytes(data, size);
  const Compression compression = compression_of(bytes);
  base::Result<std::unique_ptr<Input>> input = decompress(memory_input(bytes), compression, "fuzz");
  require(static_cast<bool>(input));
  const std::int64_t streamed = read_all(read_packets(stream_source(*std::move(input), std::nullopt), "fuzz"));
  if (compression == Compression::none) {
    require(read_all(read_packets(memory_source(bytes), "fuzz")) == streamed);
  }
  return 0;
}
