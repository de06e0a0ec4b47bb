// SPDX-License-Identifier: Apache-2.0
#include "capture/responses.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/units.h"
#include "shape/lateness.h"

namespace stallscope::capture {
namespace {

/// Half the distance of the quartiles is so many standard deviations, were the times normal (0.6745).
constexpr double half_quartiles_to_standard_deviation = 1.4826;
/// Of two or three responses none is usual.
constexpr std::int64_t fewest_responses = 8;

std::int64_t count_above(const base::LatencyHistogram& histogram, std::int64_t limit_ns) {
  constexpr unsigned finest = 42;
  std::int64_t count = 0;
  for (const base::LatencyHistogram::Bucket& bucket : histogram.buckets(finest)) {
    count += bucket.from_ns > limit_ns ? bucket.count : 0;
  }
  return count;
}

bool is_later(const Observation& a, const Observation& b) {
  return a.rtt_ns() > b.rtt_ns();
}

}  // namespace

bool ResponseCounts::Less::operator()(const ExchangeKey& a, const ExchangeKey& b) const {
  return std::memcmp(&a, &b, sizeof(ExchangeKey)) < 0;
}

void ResponseCounts::take(const Observation& response) {
  ++count_;
  ExchangeKey key;
  key.kind = ExchangeKind::response;
  key.far = response.key.far;
  key.far_port = response.key.far_port;
  key.v6 = response.key.v6;
  auto found = services_.find(key);
  if (found == services_.end()) {
    if (services_.size() == most_services) {
      ++left_out_count_;
      return;
    }
    found = services_.try_emplace(key).first;
  }
  Service& service = found->second;
  service.all.add(response.rtt_ns());
  if (response.acked_after_us > 0) {
    const bool promptly = response.acked_after_us * base::ns_per_us <= shape::late_floor_ns;
    (promptly ? service.acked_promptly : service.acked_late).add(response.rtt_ns());
  }
  if (service.worst.size() < most_worst || is_later(response, service.worst.back())) {
    service.worst.insert(std::upper_bound(service.worst.begin(), service.worst.end(), response, is_later), response);
    service.worst.resize(std::min(service.worst.size(), most_worst));
  }
}

std::vector<ServiceResponses> ResponseCounts::late() const {
  std::vector<ServiceResponses> all;
  for (const auto& [key, service] : services_) {
    if (service.all.count() < fewest_responses) {
      continue;
    }
    ServiceResponses late;
    late.service = key;
    late.count = service.all.count();
    late.median_ns = service.all.quantile_ns(0.5);
    late.worst_ns = service.all.maximum_ns();
    const std::int64_t half_quartiles_ns = (service.all.quantile_ns(0.75) - service.all.quantile_ns(0.25)) / 2;
    const auto noise_ns = std::llround(static_cast<double>(half_quartiles_ns) * half_quartiles_to_standard_deviation);
    late.late_after_ns = late.median_ns + std::max<std::int64_t>(shape::late_floor_ns, shape::late_noise_factor * noise_ns);
    late.application_late_count = count_above(service.acked_promptly, late.late_after_ns);
    late.network_late_count = count_above(service.acked_late, late.late_after_ns);
    late.unclear_late_count = count_above(service.all, late.late_after_ns) - late.application_late_count - late.network_late_count;
    std::copy_if(service.worst.begin(), service.worst.end(), std::back_inserter(late.worst),
                 [&](const Observation& response) { return response.rtt_ns() > late.late_after_ns; });
    if (late.late_count() > 0) {
      all.push_back(std::move(late));
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const ServiceResponses& a, const ServiceResponses& b) { return a.late_count() > b.late_count(); });
  return all;
}

}  // namespace stallscope::capture
