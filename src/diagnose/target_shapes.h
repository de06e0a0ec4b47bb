// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include "evidence/records.h"
#include "shape/packets.h"
#include "shape/shape.h"

namespace stallscope::diagnose {

/// The flows to one address and what the times of their packets say. Another address is another host: that its flows pass says
/// nothing about the queues of this one.
struct TargetShape {
  std::string address;
  /// By the numbers that the analysis has.
  std::vector<evidence::FlowRecord> flows;
  std::vector<shape::TimedPacket> packets;
  shape::Analysis analysis;
};

/// Gathers probes by the address they went to. 40 bytes for each probe, up to the limit.
class ShapeCollector {
 public:
  /// Beyond so many probes the shape is that of those before: one million, which takes 40 MB and as much again to analyse.
  static constexpr std::size_t most_packets = 1'000'000;
  /// What the probes with a flow's id have in common; asked once for each.
  using FlowLookup = std::function<evidence::FlowRecord(std::int64_t flow_id)>;

  explicit ShapeCollector(FlowLookup lookup) : lookup_(std::move(lookup)) {}

  void add(const evidence::ProbeRecord& probe);
  [[nodiscard]] std::int64_t left_out_count() const { return left_out_count_; }
  /// Those with most late and lost packets first. To be called once.
  [[nodiscard]] std::vector<TargetShape> finish(std::int64_t end_ns);

 private:
  struct Place {
    static constexpr std::uint32_t unknown = std::numeric_limits<std::uint32_t>::max();
    std::uint32_t target = unknown;
    std::uint32_t flow = 0;
  };
  /// Flows are numbered from 1 by whoever recorded them; places of such numbers stand in a list, which takes at most 8 MiB.
  static constexpr std::int64_t most_listed = std::int64_t{1} << 20U;

  /// Of a flow that was not seen before: with an unknown target.
  [[nodiscard]] Place& place_of(std::int64_t flow_id);
  [[nodiscard]] Place new_place(std::int64_t flow_id);

  FlowLookup lookup_;
  std::vector<Place> listed_places_;
  std::unordered_map<std::int64_t, Place> other_places_;
  std::unordered_map<std::string, std::uint32_t> targets_by_address_;
  std::vector<TargetShape> targets_;
  std::size_t packet_count_ = 0;
  std::int64_t left_out_count_ = 0;
};

/// Of the probes of a bundle; those whose flow was not recorded count as one flow.
[[nodiscard]] std::vector<TargetShape> shapes_of(const evidence::Evidence& evidence);

/// A sentence for each target that was probed with several flows and has late or lost ones; of the worst few. Addresses are as
/// recorded.
[[nodiscard]] std::vector<std::string> shape_notes(const evidence::Evidence& evidence);

}  // namespace stallscope::diagnose
