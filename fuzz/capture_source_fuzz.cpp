// SPDX-License-Identifier: Apache-2.0
// Any bytes as a capture file: plain from memory, and through the decompressors and the buffer of a pipe. Both ways must give the
// same packets, and each packet is decoded and paired.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include "capture/analysis.h"
#include "capture/file_source.h"

namespace stallscope::capture {
namespace {

/// What a fuzzer's input may unpack to; compressed zeros would else take all the time, as packets or as one block that is skipped.
constexpr std::int64_t most_packets = 2'000;
constexpr std::size_t most_unpacked_bytes = std::size_t{1} << 20U;

/// The front of another input.
class Front : public Input {
 public:
  explicit Front(std::unique_ptr<Input> whole) : whole_(std::move(whole)) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (left_ == 0) {
      return std::size_t{0};
    }
    const base::Result<std::size_t> got = whole_->read(buffer.first(std::min(buffer.size(), left_)));
    left_ -= got ? *got : 0;
    return got;
  }
  [[nodiscard]] std::int64_t stored_bytes() const override { return whole_->stored_bytes(); }

 private:
  std::unique_ptr<Input> whole_;
  std::size_t left_ = most_unpacked_bytes;
};

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

std::int64_t read_all(base::Result<std::unique_ptr<PacketSource>> source) {
  if (!source) {
    return 0;
  }
  Analysis analysis(true);
  std::array<Packet, 16> batch;
  while (!(*source)->ended() && analysis.packet_count() < most_packets) {
    const base::Result<std::size_t> count = (*source)->next(batch);
    if (!count) {
      break;
    }
    for (std::size_t at = 0; at < *count; ++at) {
      require(batch[at].time_ns >= 0 && batch[at].interface < (*source)->interfaces().size());
    }
    analysis.add(std::span(batch).first(*count));
  }
  const Findings findings = analysis.finish();
  for (const std::vector<Observation>* const part : {&findings.exchanges, &findings.unjudged}) {
    for (const Observation& observation : *part) {
      require(!observation.answered() || observation.rtt_ns() >= 0);
    }
  }
  // Batches may end at other places in a stream.
  return std::min(findings.counts.packet_count, most_packets);
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
  const std::int64_t streamed =
      read_all(read_packets(stream_source(std::make_unique<Front>(*std::move(input)), std::nullopt), "fuzz"));
  if (compression == Compression::none) {
    require(read_all(read_packets(memory_source(bytes), "fuzz")) == streamed);
  }
  return 0;
}
