// SPDX-License-Identifier: Apache-2.0
#include "cli/capture_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "capture/evidence.h"
#include "report/json.h"

namespace stallscope::cli {
namespace {

using capture::Observation;
using Json = nlohmann::json;

constexpr std::size_t shown_services = 3;
constexpr std::size_t shown_releases = 5;
constexpr std::size_t shown_hosts = 3;

std::string service_text(const capture::ExchangeKey& key) {
  const std::string address = capture::address_text(key.far, key.v6);
  return key.v6 ? fmt::format("[{}]:{}", address, key.far_port) : fmt::format("{}:{}", address, key.far_port);
}

/// "receive side of 10.0.1.2" where most of the time went before the far host saw the requests.
std::string place_text(const PlaceSums& sums, const std::string& target) {
  const std::int64_t all_ns = std::max<std::int64_t>(sums.before_ns + sums.queued_ns + sums.inside_ns + sums.after_ns, 1);
  const auto most = [&](std::int64_t part_ns) { return part_ns > all_ns / 2; };
  if (most(sums.before_ns)) {
    return fmt::format("before {} took them in: its receive side, or the network before it", target);
  }
  if (most(sums.queued_ns)) {
    return fmt::format("on the receive side of {}: it stamped them when they came and took them out of the queue later", target);
  }
  if (most(sums.inside_ns)) {
    return fmt::format("inside {}: it answered late what it had received", target);
  }
  if (most(sums.after_ns)) {
    return fmt::format("after {} had answered: its sending side, the network, or the receive side of who asked", target);
  }
  return "in no single place";
}

constexpr double parts_per_million = 1e6;

std::string drift_text(const base::ClockFit& clock) {
  const double ppm = clock.drift * parts_per_million;
  const double uncertain_ppm = clock.drift_uncertainty * parts_per_million;
  if (!std::isfinite(uncertain_ppm)) {
    return "may run faster or slower than the first";
  }
  return std::abs(ppm) <= uncertain_ppm ? fmt::format("runs as fast as the first to {:.2g} ppm", uncertain_ppm)
                                        : fmt::format("runs {:.2f} +- {:.2g} ppm {} than the first", std::abs(ppm), uncertain_ppm,
                                                      ppm > 0 ? "faster" : "slower");
}

Json data_json(const capture::Findings& findings) {
  const capture::TrackerCounts& counts = findings.counts;
  return {{"segments", counts.segment_count},
          {"rtts", counts.data_rtt_count},
          {"rtts_by_timestamp", counts.timestamp_rtt_count},
          {"retransmitted", counts.retransmitted_count},
          {"ambiguous", counts.ambiguous_count},
          {"not_followed", counts.unfollowed_count},
          {"delayed_acks", findings.delayed_ack_count},
          {"responses", findings.response_count}};
}

Json late_responses_json(const capture::Findings& findings) {
  Json services = Json::array();
  for (const capture::ServiceResponses& service : findings.late_responses) {
    Json worst = Json::array();
    for (const Observation& response : service.worst) {
      worst.push_back(
          {{"client", capture::address_text(response.key.near, response.key.v6)},
           {"client_port", response.key.near_port},
           {"requested_ns", response.sent_ns},
           {"after_ns", response.rtt_ns()},
           {"acked_after_ns", response.acked_after_us == 0 ? Json(nullptr) : Json(response.acked_after_us * base::ns_per_us)},
           {"request_packet", response.request_packet},
           {"response_packet", response.answer_packet}});
    }
    services.push_back({{"service", service_text(service.service)},
                        {"responses", service.count},
                        {"median_ns", service.median_ns},
                        {"late_after_ns", service.late_after_ns},
                        {"worst_ns", service.worst_ns},
                        {"application_late", service.application_late_count},
                        {"network_late", service.network_late_count},
                        {"unclear_late", service.unclear_late_count},
                        {"worst", worst}});
  }
  return services;
}

Json releases_json(const capture::Findings& findings) {
  Json releases = Json::array();
  for (const capture::PacketRelease& release : findings.releases) {
    releases.push_back({{"host", capture::address_text(release.host, release.v6)},
                        {"silent_from_ns", release.silent_from_ns},
                        {"released_ns", release.released_ns},
                        {"drained_ns", release.drained_ns},
                        {"packets", release.packet_count},
                        {"first_packet", release.packet},
                        {"usual_gaps", release.usual_gaps}});
  }
  return releases;
}

std::string service_sentence(const capture::ServiceResponses& service) {
  const Observation& worst = service.worst.front();
  std::string text =
      fmt::format("{} sent {} of {} responses late: up to {} after the request (packet {}), usually {}.\n",
                  service_text(service.service), base::format_count(service.late_count()), base::format_count(service.count),
                  base::format_duration(service.worst_ns), worst.answer_packet, base::format_duration(service.median_ns));
  const auto part = [&](std::int64_t count, std::string_view what) {
    text += count > 0 ? fmt::format("  {}: {}\n", base::format_count(count), what) : "";
  };
  part(service.application_late_count,
       "its kernel had acknowledged the request at once. The application was late, not the packets");
  part(service.network_late_count, "its kernel acknowledged the request late, too. The packets waited, not the application");
  part(service.unclear_late_count, "nothing acknowledged the request before; it may be either");
  return text;
}

}  // namespace

std::string read_text(const ReadCapture& read) {
  const capture::TrackerCounts& counts = read.findings.counts;
  std::string text = fmt::format(
      "{} {}: {} packets in {}, {} requests, {} answers, {} sent again", read.interrupted ? "Interrupted while reading" : "Read",
      base::printable(read.name), base::format_count(counts.packet_count), base::format_duration(counts.last_ns - counts.first_ns),
      base::format_count(counts.request_count), base::format_count(counts.answer_count), base::format_count(counts.resent_count));
  const auto also = [&](std::int64_t count, std::string_view what) {
    text += count > 0 ? fmt::format(", {} {}", base::format_count(count), what) : "";
  };
  also(counts.duplicate_count, "seen twice");
  also(read.findings.legs.joined_count, "known again after NAT");
  also(read.findings.legs.ambiguous_count, "that NAT may have changed, not known again as several are alike");
  also(counts.tunnelled_count, "in tunnels");
  also(counts.fragment_count, "fragments");
  also(counts.truncated_count, "cut too short");
  also(counts.backwards_count, "older than the one before");
  text += ".\n";
  if (counts.segment_count > 0) {
    text += fmt::format("Of {} data segments, {} have an RTT", base::format_count(counts.segment_count),
                        base::format_count(counts.data_rtt_count));
    also(counts.timestamp_rtt_count, "of them by timestamps alone");
    also(counts.retransmitted_count, "were sent again");
    also(counts.ambiguous_count, "acknowledged without saying which transmission");
    also(counts.unfollowed_count, "not followed, as others were under way");
    also(read.findings.delayed_ack_count, "ACKs do not count, as they may have been delayed on purpose");
    text += ".\n";
  }
  return text;
}

std::string places_sentence(const std::vector<ReadCapture>& reads, const CaptureOutcome& outcome) {
  if (reads.size() < 2) {
    return {};
  }
  if (!outcome.places) {
    return "The two captures have no answered exchange in common: were they recorded at the same time, of the same traffic?\n";
  }
  std::string text = fmt::format("{} exchanges are in both.\n", base::format_count(outcome.places->matched_count));
  if (outcome.places->translated_count > 0) {
    text +=
        fmt::format("{} of these have other addresses in the second capture (NAT), and are known by what NAT leaves as it is.\n",
                    base::format_count(outcome.places->translated_count));
  }
  if (outcome.places->ambiguous_count > 0) {
    text += fmt::format("{} others are not matched, because several of the second capture are like them.\n",
                        base::format_count(outcome.places->ambiguous_count));
  }
  text += fmt::format("The second clock {}, and is known to {}.\n", drift_text(outcome.places->clock),
                      base::format_duration(outcome.places->clock.uncertainty_ns));
  if (outcome.sums.late_count > 0) {
    text += fmt::format(
        "Late ones waited {}\n  ({} before it, {} in its receive queue, {} inside, {} after it, over {} exchanges).\n",
        place_text(outcome.sums, base::printable(outcome.evidence.run.target)), base::format_duration(outcome.sums.before_ns),
        base::format_duration(outcome.sums.queued_ns), base::format_duration(outcome.sums.inside_ns),
        base::format_duration(outcome.sums.after_ns), base::format_count(outcome.sums.late_count));
  }
  return text;
}

std::string passages_sentence(const PassageSums& passages) {
  if (passages.late_count == 0) {
    return {};
  }
  return fmt::format(
      "{} late exchanges were seen again on their way through the host that forwarded them.\n"
      "  Of their {}, {} passed in it with the request and {} with the answer.\n",
      base::format_count(passages.late_count), base::format_duration(passages.rtt_ns), base::format_duration(passages.request_ns),
      base::format_duration(passages.answer_ns));
}

std::string queues_text(const CaptureOutcome& outcome, const QueueQuestion& question, const QueuesTextOptions& options) {
  std::string text;
  std::size_t shown = 0;
  for (const StalledQueues& host : outcome.queues) {
    const std::string part = render_stalled_queues(host, options.width);
    if (part.empty() || (!options.all && shown == shown_hosts)) {
      continue;
    }
    ++shown;
    text += part;
  }
  if (shown == 0 && question.key) {
    const std::string whose =
        question.host.empty() ? "the hosts that were asked" : fmt::format("{}", base::printable(question.host));
    text =
        base::wrap(fmt::format("The hash key names no receive queue of {}: in none of the stalls, if there were any, is it plain "
                               "which flows or which predicted queues were held and which passed.",
                               whose),
                   options.width, 0) +
        "\n";
  }
  return text;
}

std::string responses_text(const capture::Findings& findings, bool all) {
  std::string text;
  std::size_t shown = 0;
  for (const capture::ServiceResponses& service : findings.late_responses) {
    if (!all && shown == shown_services) {
      text += fmt::format("{} more services have late responses (--all).\n",
                          base::format_count(static_cast<std::int64_t>(findings.late_responses.size() - shown)));
      break;
    }
    ++shown;
    text += service_sentence(service);
  }
  return text;
}

std::string releases_text(const capture::Findings& findings, bool all) {
  std::vector<const capture::PacketRelease*> longest;
  for (const capture::PacketRelease& release : findings.releases) {
    longest.push_back(&release);
  }
  if (longest.empty()) {
    return {};
  }
  std::stable_sort(longest.begin(), longest.end(), [](const auto* a, const auto* b) { return a->silence_ns() > b->silence_ns(); });
  std::string text = fmt::format(
      "{} time{} packets of several flows came all at once after an unusual silence, as from a queue that stood still:\n",
      base::format_count(static_cast<std::int64_t>(longest.size())), longest.size() == 1 ? "" : "s");
  longest.resize(all ? longest.size() : std::min(longest.size(), shown_releases));
  for (const capture::PacketRelease* const release : longest) {
    text += fmt::format("  {}  to {}: {} packets within {} after {} (packet {})\n", base::time_of_day(release->released_ns),
                        capture::address_text(release->host, release->v6), base::format_count(release->packet_count),
                        base::format_duration(release->drained_ns - release->released_ns),
                        base::format_duration(release->silence_ns()), release->packet);
  }
  return text;
}

std::string capture_json(const std::vector<ReadCapture>& reads, const CaptureOutcome& outcome) {
  Json json = Json::parse(report::render_json(outcome.evidence, outcome.diagnosis));
  Json captures = Json::array();
  for (const ReadCapture& read : reads) {
    const capture::TrackerCounts& counts = read.findings.counts;
    captures.push_back({{"file", base::printable(read.name)},
                        {"packets", counts.packet_count},
                        {"requests", counts.request_count},
                        {"answers", counts.answer_count},
                        {"resent", counts.resent_count},
                        {"seen_twice", counts.duplicate_count},
                        {"legs", {{"joined", read.findings.legs.joined_count}, {"ambiguous", read.findings.legs.ambiguous_count}}},
                        {"tunnelled", counts.tunnelled_count},
                        {"fragments", counts.fragment_count},
                        {"cut_short", counts.truncated_count},
                        {"backwards", counts.backwards_count},
                        {"thinned", read.findings.thinned_count},
                        {"data", data_json(read.findings)},
                        {"late_responses", late_responses_json(read.findings)},
                        {"releases", releases_json(read.findings)},
                        {"interrupted", read.interrupted},
                        {"damage", read.trouble.damage}});
  }
  json["captures"] = captures;
  if (outcome.places) {
    json["places"] = {{"matched", outcome.places->matched_count},
                      {"translated", outcome.places->translated_count},
                      {"ambiguous", outcome.places->ambiguous_count},
                      {"clock_uncertainty_ns", outcome.places->clock.uncertainty_ns},
                      {"clock_drift_ppm", outcome.places->clock.drift * parts_per_million},
                      {"clock_drift_uncertainty_ppm", outcome.places->clock.drift_uncertainty * parts_per_million},
                      {"late", outcome.sums.late_count},
                      {"before_ns", outcome.sums.before_ns},
                      {"receive_queue_ns", outcome.sums.queued_ns},
                      {"inside_ns", outcome.sums.inside_ns},
                      {"after_ns", outcome.sums.after_ns}};
  }
  const PassageSums& passages = outcome.passages;
  json["passages"] = {{"late", passages.late_count},
                      {"rtt_ns", passages.rtt_ns},
                      {"request_ns", passages.request_ns},
                      {"answer_ns", passages.answer_ns}};
  Json shapes = Json::array();
  const std::string lines = probe_shapes_json(outcome.shapes);
  for (const std::string_view line : base::split(lines, '\n')) {
    if (!line.empty()) {
      shapes.push_back(Json::parse(line));
    }
  }
  json["shapes"] = shapes;
  Json queues = Json::array();
  for (const StalledQueues& host : outcome.queues) {
    queues.push_back(Json(stalled_queues_json(host)));
  }
  json["queues"] = queues;
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace stallscope::cli
