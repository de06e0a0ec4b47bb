// SPDX-License-Identifier: Apache-2.0
#include "capture/analysis.h"

#include <algorithm>

namespace stallscope::capture {

Analysis::Analysis(bool with_flows) : flows_(with_flows ? std::make_unique<FlowTable>() : nullptr), tracker_(*this) {}

void Analysis::take(const Observation& observation) {
  const bool response = observation.key.kind == ExchangeKind::response;
  if (flows_ && !response && observation.answered()) {
    flows_->add_rtt(observation);
  }
  if (!response && !observation.may_be_delayed) {
    store_.take(observation);
    return;
  }
  if (response) {
    responses_.take(observation);
  } else {
    ++delayed_ack_count_;
  }
  if (unjudged_.size() < most_unjudged) {
    unjudged_.push_back(observation);
  }
}

void Analysis::packet(const Packet& packet, const Decoded& decoded) {
  releases_.add(packet, decoded);
  if (flows_) {
    flows_->add(packet, decoded);
  }
}

void Analysis::resent(const ExchangeKey& key) {
  if (flows_) {
    flows_->add_resent(key);
  }
}

Findings Analysis::finish() {
  tracker_.finish();
  Findings findings;
  findings.exchanges = store_.finish();
  findings.legs = join_legs(findings.exchanges);
  std::stable_sort(unjudged_.begin(), unjudged_.end(),
                   [](const Observation& a, const Observation& b) { return a.sent_ns < b.sent_ns; });
  findings.unjudged = std::move(unjudged_);
  findings.counts = tracker_.counts();
  findings.thinned_count = store_.thinned_count();
  findings.left_out_count = store_.left_out_count();
  findings.delayed_ack_count = delayed_ack_count_;
  findings.response_count = responses_.count();
  findings.late_responses = responses_.late();
  findings.releases = releases_.finish();
  findings.releases_left_out_count = releases_.left_out_count();
  findings.flows = std::move(flows_);
  return findings;
}

}  // namespace stallscope::capture
