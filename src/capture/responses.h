// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "base/latency_histogram.h"
#include "capture/exchange.h"

namespace stallscope::capture {

/// How long a service took to answer requests, from their last byte to the first that came back, by what its kernel did meanwhile.
struct ServiceResponses {
  /// `far` is the service; the rest is zero.
  ExchangeKey service;
  std::int64_t count = 0;
  std::int64_t median_ns = 0;
  /// Later than this is late: a few milliseconds and a few times the usual spread above the median.
  std::int64_t late_after_ns = 0;
  std::int64_t worst_ns = 0;
  /// The request was acknowledged promptly: the packets passed, the application was late.
  std::int64_t application_late_count = 0;
  /// The acknowledgement was late itself: the packets waited.
  std::int64_t network_late_count = 0;
  /// Nothing was acknowledged before the response, which a kernel puts off when the application is quick: cannot tell.
  std::int64_t unclear_late_count = 0;
  /// The latest ones, latest first.
  std::vector<Observation> worst;

  [[nodiscard]] std::int64_t late_count() const { return application_late_count + network_late_count + unclear_late_count; }

  friend bool operator==(const ServiceResponses&, const ServiceResponses&) = default;
};

/// Counts responses by service, in bounded memory.
class ResponseCounts {
 public:
  /// 9 KiB each.
  static constexpr std::size_t most_services = 1'024;
  static constexpr std::size_t most_worst = 5;

  void take(const Observation& response);
  /// Services with late responses, those with most first.
  [[nodiscard]] std::vector<ServiceResponses> late() const;
  [[nodiscard]] std::int64_t count() const { return count_; }
  /// Of services beyond the limit.
  [[nodiscard]] std::int64_t left_out_count() const { return left_out_count_; }

 private:
  static constexpr unsigned precision_bits = 3;
  struct Less {
    bool operator()(const ExchangeKey& a, const ExchangeKey& b) const;
  };
  struct Service {
    base::LatencyHistogram all{precision_bits};
    base::LatencyHistogram acked_promptly{precision_bits};
    base::LatencyHistogram acked_late{precision_bits};
    std::vector<Observation> worst;
  };

  std::map<ExchangeKey, Service, Less> services_;
  std::int64_t count_ = 0;
  std::int64_t left_out_count_ = 0;
};

}  // namespace stallscope::capture
