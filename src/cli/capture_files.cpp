// SPDX-License-Identifier: Apache-2.0
#include "cli/capture_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

#include "base/clock.h"
#include "base/replacing_file.h"
#include "base/text.h"
#include "base/units.h"
#include "capture/evidence.h"
#include "cli/app.h"
#include "evidence/bundle.h"
#include "report/rtt_plot.h"
#include "report/shape.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;
using capture::Observation;

/// Why packets were late, in the words of the report: of the host with most of them.
std::string verdict_text(const CaptureOutcome& outcome) {
  if (outcome.diagnosis.probes.late_count == 0 || outcome.shapes.targets.empty()) {
    return "nothing was late";
  }
  const diagnose::TargetShape& worst = outcome.shapes.targets.front();
  return fmt::format("{}: {}", base::printable(worst.address), report::shape_sentence(worst.analysis));
}

std::string stall_text(const HeldExchange& held, std::int64_t offset_ns) {
  const shape::StallEpisode* const stall = held.stall();
  if (stall == nullptr) {
    return "It belongs to no stall that others show.";
  }
  return fmt::format("Stall {} of {} to {}, until {} UTC, {} ms long at least: {} ({}).", *held.episode + 1,
                     held.target->analysis.episodes.size(), held.target->address, base::time_of_day(stall->release_ns + offset_ns),
                     base::format_ms(stall->shortest_ns), shape::cause_title(stall->cause), stall->why);
}

/// A comment on a packet: of a held exchange, on its answer or on its request.
struct Mark {
  std::uint32_t packet = 0;
  std::size_t held = 0;
  bool answer = false;
};

std::vector<Mark> marks_of(const std::vector<Observation>& exchanges, const std::vector<HeldExchange>& held) {
  std::vector<Mark> marks;
  for (std::size_t at = 0; at < held.size(); ++at) {
    const Observation& exchange = exchanges[held[at].exchange];
    if (exchange.request_packet != 0 && exchange.answer_packet != 0) {
      marks.push_back({exchange.request_packet, at, false});
      marks.push_back({exchange.answer_packet, at, true});
    }
  }
  std::sort(marks.begin(), marks.end(),
            [](const Mark& a, const Mark& b) { return std::tuple(a.packet, a.held) < std::tuple(b.packet, b.held); });
  return marks;
}

std::string mark_text(const Mark& mark, const Observation& exchange, const HeldExchange& held, std::int64_t offset_ns) {
  const std::string took = base::format_duration(exchange.rtt_ns());
  const std::string about = mark.answer ? fmt::format("this answers packet {} after {}", exchange.request_packet, took)
                                        : fmt::format("the answer to this, packet {}, came after {}", exchange.answer_packet, took);
  return fmt::format("stallscope: held {}: {}, usual are {}. {}", base::format_duration(exchange.rtt_ns() - held.usual_ns), about,
                     base::format_duration(held.usual_ns), stall_text(held, offset_ns));
}

std::string exchange_row(const Observation& observation) {
  const capture::ExchangeKey& key = observation.key;
  const std::string near = capture::address_text(key.near, key.v6);
  const std::string far = capture::address_text(key.far, key.v6);
  const std::string ports = key.kind == capture::ExchangeKind::echo
                                ? fmt::format("{},,{},,{},{}", near, far, key.near_port, key.far_port)
                                : fmt::format("{},{},{},{},,", near, key.near_port, far, key.far_port);
  const auto or_empty = [](std::int64_t number) { return number == 0 ? std::string() : fmt::format("{}", number); };
  return fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", capture::exchange_kind_id(key.kind), ports, observation.sent_ns,
                     observation.answered() ? fmt::format("{}", observation.rtt_ns()) : "",
                     evidence::answer_kind_id(observation.answer), observation.resent_count, or_empty(observation.request_packet),
                     or_empty(observation.answer_packet), observation.by_timestamp ? 1 : 0, observation.may_be_delayed ? 1 : 0,
                     or_empty(observation.acked_after_us * base::ns_per_us), observation.leg_count,
                     or_empty(observation.request_passed_us * base::ns_per_us),
                     or_empty(observation.answer_passed_us * base::ns_per_us));
}

std::string flow_row(const capture::FlowCounts& flow) {
  const capture::ExchangeKey& key = flow.key;
  std::string text = key.kind == capture::ExchangeKind::none
                         ? ",,,,"
                         : fmt::format("{},{},{},{},{}", key.protocol, capture::address_text(key.near, key.v6), key.near_port,
                                       capture::address_text(key.far, key.v6), key.far_port);
  text += fmt::format(",{},{},{},{}", flow.packet_count, flow.byte_count, flow.resent_count, flow.held_count);
  if (!flow.rtts) {
    return text + ",0,,,,\n";
  }
  return text + fmt::format(",{},{},{},{},{}\n", flow.rtts->count(), flow.rtts->minimum_ns(), flow.rtts->quantile_ns(0.5),
                            flow.rtts->quantile_ns(0.99), flow.rtts->maximum_ns());
}

/// `rows` is asked for one after the other until it is empty.
template <typename Rows>
Status write_table(const std::string& path, std::string_view heading, Rows rows) {
  Result<base::ReplacingFile> file = base::ReplacingFile::create(path);
  if (!file) {
    return file.error();
  }
  Status written = file->write(heading);
  for (std::string row = rows(); written && !row.empty(); row = rows()) {
    written = file->write(row);
  }
  return written ? file->commit() : written;
}

}  // namespace

Status write_capture_bundle(const evidence::Evidence& evidence, const std::string& path) {
  Result<evidence::BundleWriter> writer = evidence::BundleWriter::create(path, evidence.run);
  if (!writer) {
    return writer.error();
  }
  for (const Status& added : {writer->add_all(evidence.flows), writer->add_all(evidence.probes), writer->add_all(evidence.packets),
                              writer->add_all(evidence.gaps), writer->add_all(evidence.losses)}) {
    if (!added) {
      return added;
    }
  }
  return writer->commit();
}

Status write_exchanges_csv(const capture::Findings& findings, const std::string& path) {
  std::vector<const Observation*> all;
  for (const std::vector<Observation>* const part : {&findings.exchanges, &findings.unjudged}) {
    std::transform(part->begin(), part->end(), std::back_inserter(all), [](const Observation& one) { return &one; });
  }
  std::stable_sort(all.begin(), all.end(), [](const auto* a, const auto* b) { return a->sent_ns < b->sent_ns; });
  auto next = all.begin();
  return write_table(
      path,
      "kind,source,source_port,destination,destination_port,echo_id,echo_sequence,sent_ns,rtt_ns,answer,resent,"
      "request_packet,answer_packet,by_timestamp,may_be_delayed,acked_after_ns,legs,request_passed_ns,answer_passed_ns\n",
      [&] { return next == all.end() ? std::string() : exchange_row(**next++); });
}

Status write_flows_csv(ReadCapture& read, const std::vector<HeldExchange>& held, const std::string& path) {
  capture::FlowTable& table = *read.findings.flows;
  for (const HeldExchange& one : held) {
    ++table.of(read.findings.exchanges[one.exchange].key).held_count;
  }
  const std::vector<capture::FlowCounts>& flows = table.flows();
  // The first stands for those beyond the limit, and comes last if there are any.
  std::size_t next = 1;
  return write_table(path,
                     "protocol,source,source_port,destination,destination_port,packets,bytes,retransmissions,held,rtts,rtt_min_ns,"
                     "rtt_median_ns,rtt_p99_ns,rtt_max_ns\n",
                     [&] {
                       const std::size_t at = next++;
                       if (at < flows.size()) {
                         return flow_row(flows[at]);
                       }
                       return at == flows.size() && table.others_count() > 0 ? flow_row(flows.front()) : std::string();
                     });
}

Result<capture::Annotated> write_annotated(const ReadCapture& read, const CaptureOutcome& outcome,
                                           const std::vector<HeldExchange>& held, const std::string& path,
                                           const std::function<bool()>& interrupted) {
  const std::vector<Observation>& exchanges = read.findings.exchanges;
  const std::vector<Mark> marks = marks_of(exchanges, held);
  capture::Annotations annotations;
  annotations.summary = fmt::format("stallscope {}: {} of {} exchanges were held. {}. On held packets there are comments.",
                                    version(), base::format_count(static_cast<std::int64_t>(held.size())),
                                    base::format_count(static_cast<std::int64_t>(exchanges.size())), verdict_text(outcome));
  std::transform(marks.begin(), marks.end(), std::back_inserter(annotations.packets), [](const Mark& mark) { return mark.packet; });
  annotations.comment = [&](std::size_t index) {
    const HeldExchange& one = held[marks[index].held];
    return mark_text(marks[index], exchanges[one.exchange], one, outcome.shapes.realtime_offset_ns);
  };
  return capture::annotate(read.name, path, annotations, interrupted);
}

Status write_plot(const ReadCapture& read, const CaptureOutcome& outcome, const std::vector<HeldExchange>& held,
                  const std::string& path) {
  report::RttPlot plot;
  plot.file = base::printable(read.name);
  plot.verdict = verdict_text(outcome);
  const std::int64_t offset_ns = outcome.shapes.realtime_offset_ns;
  const std::vector<Observation>& exchanges = read.findings.exchanges;
  for (std::size_t at = 0; at < exchanges.size(); ++at) {
    if (exchanges[at].answered()) {
      const bool late = outcome.diagnosis.fates[at] == diagnose::ProbeFate::late;
      plot.points.push_back({exchanges[at].sent_ns, exchanges[at].rtt_ns(), late});
    }
  }
  for (const diagnose::TargetShape& target : outcome.shapes.targets) {
    for (const shape::StallEpisode& episode : target.analysis.episodes) {
      if (episode.held_count > 0) {
        plot.stalls.push_back({episode.earliest_start_ns + offset_ns, episode.drained_ns + offset_ns, episode.shortest_ns,
                               std::string(shape::cause_title(episode.cause))});
      }
    }
  }
  plot.held_count = static_cast<std::int64_t>(held.size());
  Result<base::ReplacingFile> file = base::ReplacingFile::create(path);
  if (!file) {
    return file.error();
  }
  if (Status written = file->write(report::render_rtt_plot(plot)); !written) {
    return written;
  }
  return file->commit();
}

}  // namespace stallscope::cli
