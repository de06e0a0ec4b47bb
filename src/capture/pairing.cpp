// SPDX-License-Identifier: Apache-2.0
#include "capture/pairing.h"

#include <algorithm>
#include <utility>

namespace stallscope::capture {

Pairing::Pairing(FlowTable* flows) : flows_(flows), tracker_(*this) {}

void Pairing::take(std::span<const Observation> observations) {
  if (flows_ != nullptr) {
    for (const Observation& observation : observations) {
      if (observation.key.kind != ExchangeKind::response && observation.answered()) {
        flows_->add_rtt(observation);
      }
    }
  }
  auto begin = observations.begin();
  while (begin != observations.end()) {
    const auto end = std::find_if_not(begin, observations.end(), is_judged);
    store_.take({begin, end});
    begin = end;
    if (end != observations.end()) {
      take_unjudged(*end);
      ++begin;
    }
  }
}

bool Pairing::is_judged(const Observation& observation) {
  return observation.key.kind != ExchangeKind::response && !observation.may_be_delayed;
}

void Pairing::take_unjudged(const Observation& observation) {
  if (observation.key.kind == ExchangeKind::response) {
    responses_.take(observation);
  } else {
    ++delayed_ack_count_;
  }
  if (unjudged_.size() < most_unjudged) {
    unjudged_.push_back(observation);
  }
}

void Pairing::resent(const ExchangeKey& key) {
  if (flows_ != nullptr) {
    flows_->add_resent(key);
  }
}

void Pairing::finish(Findings& findings) {
  tracker_.finish();
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
}

}  // namespace stallscope::capture
