// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "capture/analysis.h"
#include "capture/evidence.h"
#include "capture/packet.h"
#include "cli/probe_shape.h"
#include "cli/stalled_queues.h"
#include "diagnose/diagnosis.h"
#include "evidence/records.h"
#include "rss/queue_map.h"
#include "shape/shape.h"

// From what was read of captures to what is said about them. Pure.
namespace stallscope::cli {

struct ReadCapture {
  std::string name;
  capture::Findings findings;
  capture::SourceTrouble trouble;
  std::vector<capture::Interface> interfaces;
  bool interrupted = false;
};

/// Where the time of late exchanges went, by two captures.
struct PlaceSums {
  std::int64_t late_count = 0;
  std::int64_t before_ns = 0;
  /// In the far host's backlog: stamped when they came, taken out later.
  std::int64_t queued_ns = 0;
  std::int64_t inside_ns = 0;
  std::int64_t after_ns = 0;
};

/// How long late exchanges were on their way through a host that forwards them, between the first and the last sighting of their
/// packets: of the second capture's host where there are two.
struct PassageSums {
  std::int64_t late_count = 0;
  /// Of these exchanges together, from request to answer.
  std::int64_t rtt_ns = 0;
  std::int64_t request_ns = 0;
  std::int64_t answer_ns = 0;
};

struct CaptureOutcome {
  /// Its probes are the exchanges of the first capture, in the same order.
  evidence::Evidence evidence;
  diagnose::Diagnosis diagnosis;
  ProbeShapes shapes;
  std::optional<capture::TwoPlaces> places;
  PlaceSums sums;
  PassageSums passages;
  /// Of the hosts with several flows that stalled, those with most late and lost packets first.
  std::vector<StalledQueues> queues;
};

/// Whose receive queues are meant, and what is known of them.
struct QueueQuestion {
  std::optional<rss::QueueMap> key;
  /// Empty: each host that was asked, which received the requests.
  std::string host;
};

/// `reads`: one capture, or that of who asks and that of who is asked.
[[nodiscard]] CaptureOutcome conclude(const std::vector<ReadCapture>& reads, const QueueQuestion& question = {});

/// An exchange that was answered late.
struct HeldExchange {
  /// Index into Findings::exchanges of the first capture.
  std::size_t exchange = 0;
  /// What is usual between these hosts.
  std::int64_t usual_ns = 0;
  /// Where it belongs to one: the target, and the number of the episode among those of the target, from 0.
  const diagnose::TargetShape* target = nullptr;
  std::optional<std::size_t> episode;

  [[nodiscard]] const shape::StallEpisode* stall() const { return episode ? &target->analysis.episodes[*episode] : nullptr; }
};

/// In order of sending. Points into `outcome`.
[[nodiscard]] std::vector<HeldExchange> held_exchanges(const ReadCapture& read, const CaptureOutcome& outcome);

}  // namespace stallscope::cli
