// SPDX-License-Identifier: Apache-2.0
#include "capture/analysis.h"

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
  Decoded decoded;
  for (const Packet& packet : packets) {
    decode(packet.data, packet.link, decoded);
    releases_.add(packet, decoded);
    if (flows_) {
      flows_->add(packet, decoded);
    }
    if (facts_.read(packet, decoded, pipe_.next())) {
      pipe_.push();
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
