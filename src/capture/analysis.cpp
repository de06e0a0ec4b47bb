// SPDX-License-Identifier: Apache-2.0
#include "capture/analysis.h"

#include <algorithm>
#include <array>
#include <utility>

namespace stallscope::capture {
namespace {

PipeOptions pipe_options(bool with_flows, PipeOptions options) {
  options.may_start_thread = options.may_start_thread && !with_flows;
  return options;
}

}  // namespace

Analysis::Analysis(bool with_flows, const PipeOptions& pipe)
    : flows_(with_flows ? std::make_unique<FlowTable>() : nullptr),
      pairing_(flows_.get()),
      pipe_(pipe_options(with_flows, pipe), [this](std::span<const PacketFacts> packets) { pairing_.add(packets); }) {}

void Analysis::add(std::span<const Packet> packets) {
  // Several at once, for the releases: hosts are fetched from memory for all of them at the same time.
  std::array<Decoded, ReleaseFinder::most_at_once> batch;
  while (!packets.empty()) {
    const auto part = packets.first(std::min(packets.size(), batch.size()));
    packets = packets.subspan(part.size());
    for (std::size_t at = 0; at < part.size(); ++at) {
      decode(part[at].data, part[at].link, batch[at]);
    }
    releases_.add(part, std::span(batch).first(part.size()));
    if (flows_) {
      for (std::size_t at = 0; at < part.size(); ++at) {
        flows_->add(part[at], batch[at]);
      }
    }
    for (std::size_t at = 0; at < part.size(); ++at) {
      if (facts_.read(part[at], batch[at], pipe_.next())) {
        pipe_.push();
      }
    }
  }
}

Findings Analysis::finish() {
  pipe_.finish();
  Findings findings;
  pairing_.finish(findings);
  static_cast<PacketCounts&>(findings.counts) = facts_.counts();
  findings.releases = releases_.finish();
  findings.releases_left_out_count = releases_.left_out_count();
  findings.flows = std::move(flows_);
  return findings;
}

}  // namespace stallscope::capture
