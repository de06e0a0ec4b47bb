// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "capture/decode.h"
#include "capture/fact_pipe.h"
#include "capture/findings.h"
#include "capture/flow_table.h"
#include "capture/packet.h"
#include "capture/packet_facts.h"
#include "capture/pairing.h"
#include "capture/releases.h"

namespace stallscope::capture {

/// All that looks at a packet, in one pass: this thread reads packets, and where there are CPUs for two another one pairs them
/// meanwhile. What is found is the same either way.
class Analysis {
 public:
  /// A table of flows is counted by both halves, so it keeps them on one thread.
  explicit Analysis(bool with_flows, const PipeOptions& pipe = {});

  void add(std::span<const Packet> packets);
  [[nodiscard]] std::int64_t packet_count() const { return facts_.counts().packet_count; }
  /// To be called once, last.
  [[nodiscard]] Findings finish();

 private:
  /// What one thread writes to for each packet must not take cache lines from the other.
  static constexpr std::size_t cache_line_bytes = 64;

  FactReader facts_;
  ReleaseFinder releases_;
  std::unique_ptr<FlowTable> flows_;
  alignas(cache_line_bytes) Pairing pairing_;
  alignas(cache_line_bytes) FactPipe pipe_;  // last: its thread ends before what it uses
};

}  // namespace stallscope::capture
