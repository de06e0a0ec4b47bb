// SPDX-License-Identifier: Apache-2.0
#include "cli/capture_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "capture/evidence.h"
#include "capture/file_source.h"
#include "capture/libpcap.h"
#include "capture/observations.h"
#include "capture/tracker.h"
#include "cli/app.h"
#include "cli/interrupt.h"
#include "cli/probe_shape.h"
#include "cli/terminal.h"
#include "diagnose/diagnose.h"
#include "diagnose/target_shapes.h"
#include "evidence/bundle.h"
#include "report/json.h"
#include "report/text.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;
using capture::Observation;
using Json = nlohmann::json;

constexpr std::size_t read_batch_size = 256;
constexpr std::int64_t reading_shown_every_ns = base::ns_per_s;
/// A packet of a few headers, stored; a file has at most so many.
constexpr std::int64_t least_stored_bytes = 70;

struct ReadCapture {
  std::string name;
  std::vector<Observation> observations;
  capture::TrackerCounts counts;
  capture::SourceTrouble trouble;
  std::vector<capture::Interface> interfaces;
  std::int64_t thinned_count = 0;
  std::int64_t left_out_count = 0;
  bool interrupted = false;
};

/// A line on a terminal that is overwritten, with the time that is left at the pace so far.
class ReadingProgress {
 public:
  explicit ReadingProgress(std::string name) : name_(std::move(name)), shown_(describe_terminal(STDERR_FILENO).interactive) {}
  ~ReadingProgress() {
    if (printed_) {
      fmt::print(stderr, "\r\033[K");
    }
  }
  ReadingProgress(const ReadingProgress&) = delete;
  ReadingProgress& operator=(const ReadingProgress&) = delete;
  ReadingProgress(ReadingProgress&&) = delete;
  ReadingProgress& operator=(ReadingProgress&&) = delete;

  void update(const capture::Progress& progress, std::int64_t packet_count) {
    const std::int64_t now_ns = base::monotonic_ns();
    if (!shown_ || now_ns - last_ns_ < reading_shown_every_ns) {
      return;
    }
    last_ns_ = now_ns;
    printed_ = true;
    std::string text = fmt::format("\r\033[K{}: {} packets", base::printable(name_), base::format_count(packet_count));
    if (progress.total_bytes && progress.read_bytes > 0) {
      const double part =
          static_cast<double>(progress.read_bytes) / static_cast<double>(std::max<std::int64_t>(*progress.total_bytes, 1));
      const double left_ns = static_cast<double>(now_ns - start_ns_) * (1 - part) / part;
      text +=
          fmt::format(", {} read, {} left", base::format_percent(part), base::format_duration(static_cast<std::int64_t>(left_ns)));
    }
    fmt::print(stderr, "{}", text);
  }

 private:
  std::string name_;
  bool shown_;
  bool printed_ = false;
  std::int64_t start_ns_ = base::monotonic_ns();
  std::int64_t last_ns_ = start_ns_;
};

Result<ReadCapture> read_capture(capture::PacketSource& source, const std::string& name, const CaptureRunOptions& options) {
  std::optional<capture::PacketFilter> filter;
  if (!options.filter.empty() && options.interface.empty()) {
    Result<capture::PacketFilter> made = capture::PacketFilter::make(options.filter);
    if (!made) {
      return made.error();
    }
    filter = *std::move(made);
  }
  const std::optional<std::int64_t> size = source.progress().total_bytes;
  capture::ObservationStore store;
  capture::Tracker tracker(size ? static_cast<std::size_t>(*size / (2 * least_stored_bytes)) : capture::Tracker::most_exchanges / 4,
                           store);
  std::array<capture::Packet, read_batch_size> batch;
  ReadingProgress progress(name);
  const std::int64_t end_ns = options.duration_ns > 0 ? base::monotonic_ns() + options.duration_ns : 0;
  ReadCapture read;
  while (!source.ended()) {
    read.interrupted = InterruptGuard::requested();
    if (read.interrupted || (end_ns > 0 && base::monotonic_ns() >= end_ns)) {
      break;
    }
    const Result<std::size_t> got = source.next(batch);
    if (!got) {
      return got.error();
    }
    std::size_t count = *got;
    if (filter) {
      count = static_cast<std::size_t>(std::remove_if(batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(count),
                                                      [&](const capture::Packet& packet) { return !filter->matches(packet); }) -
                                       batch.begin());
    }
    tracker.add(std::span(batch).first(count));
    progress.update(source.progress(), tracker.counts().packet_count);
  }
  read.interrupted = read.interrupted || InterruptGuard::requested();
  tracker.finish();
  read.name = name;
  read.observations = store.finish();
  read.counts = tracker.counts();
  read.trouble = source.trouble();
  read.interfaces = source.interfaces();
  read.thinned_count = store.thinned_count();
  read.left_out_count = store.left_out_count();
  return read;
}

Result<ReadCapture> read_capture(const std::string& path, const CaptureRunOptions& options) {
  Result<std::unique_ptr<capture::PacketSource>> source = capture::open_capture(path);
  if (!source) {
    return source.error();
  }
  return read_capture(**source, path == "-" ? "standard input" : path, options);
}

void add_capture_gaps(const ReadCapture& read, evidence::Evidence& evidence) {
  const auto gap = [&](std::string what, std::string reason, std::string consequence) {
    evidence.gaps.push_back({std::move(what), std::move(reason), std::move(consequence)});
  };
  if (!read.trouble.damage.empty()) {
    gap("the rest of " + read.name, read.trouble.damage, "what comes after that place was not read");
  }
  if (read.trouble.truncated) {
    gap("the end of " + read.name, "its last packet is cut off", "requests at the end may seem unanswered");
  }
  if (read.trouble.skipped_count > 0) {
    gap(fmt::format("{} packets of {}", base::format_count(read.trouble.skipped_count), read.name),
        "they have no time, or no interface that is described", "they were left out");
  }
  if (read.left_out_count > 0) {
    gap(fmt::format("{} exchanges of {}", base::format_count(read.left_out_count), read.name), "there are more than fit in memory",
        "stalls in the later part may be missing");
  }
  if (read.thinned_count > 0) {
    gap(fmt::format("{} prompt exchanges of {}", base::format_count(read.thinned_count), read.name),
        "an even sample stands for them, to bound the memory",
        "during a stall longer than two blocks of traffic, which other flows passed is known in part only: 'all queues' may then "
        "be one");
  }
  if (read.counts.forgotten_count > 0) {
    gap(fmt::format("what became of {} requests in {}", base::format_count(read.counts.forgotten_count), read.name),
        "more were unanswered at once than fit in memory", "they count as unanswered");
  }
  if (read.counts.impossible_count > 0) {
    gap(fmt::format("the RTT of {} answers in {}", base::format_count(read.counts.impossible_count), read.name),
        "they are older than their requests", "they were left out");
  }
  if (read.trouble.dropped_count > 0) {
    evidence.losses.push_back({"capture " + read.name, read.trouble.dropped_count});
  }
}

/// Where the time of late exchanges went, by two captures.
struct PlaceSums {
  std::int64_t late_count = 0;
  std::int64_t before_ns = 0;
  /// In the far host's backlog: stamped when they came, taken out later.
  std::int64_t queued_ns = 0;
  std::int64_t inside_ns = 0;
  std::int64_t after_ns = 0;
};

PlaceSums sum_places(const std::vector<Observation>& near, const capture::TwoPlaces& places, const diagnose::Diagnosis& diagnosis) {
  PlaceSums sums;
  for (std::size_t at = 0; at < near.size(); ++at) {
    if (diagnosis.fates[at] == diagnose::ProbeFate::late && places.far[at]) {
      ++sums.late_count;
      sums.before_ns += std::max<std::int64_t>(places.far[at]->sent_ns - near[at].sent_ns, 0);
      const std::int64_t queued_ns = std::min(places.far[at]->queued_ns(), places.far[at]->rtt_ns());
      sums.queued_ns += queued_ns;
      sums.inside_ns += places.far[at]->rtt_ns() - queued_ns;
      sums.after_ns += std::max<std::int64_t>(near[at].answered_ns - places.far[at]->answered_ns, 0);
    }
  }
  return sums;
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

struct CaptureOutcome {
  evidence::Evidence evidence;
  diagnose::Diagnosis diagnosis;
  ProbeShapes shapes;
  std::optional<capture::TwoPlaces> places;
  PlaceSums sums;
};

CaptureOutcome conclude(const std::vector<ReadCapture>& reads) {
  CaptureOutcome outcome;
  const ReadCapture& near = reads.front();
  if (reads.size() > 1) {
    outcome.places = capture::match(near.observations, reads[1].observations);
  }
  outcome.evidence = capture::make_evidence(near.observations, near.counts, outcome.places);
  outcome.evidence.run.tool_version = std::string(version());
  const bool interrupted = std::any_of(reads.begin(), reads.end(), [](const ReadCapture& read) { return read.interrupted; });
  outcome.evidence.run.state = interrupted ? "interrupted" : "finished";
  for (const ReadCapture& read : reads) {
    add_capture_gaps(read, outcome.evidence);
  }
  outcome.diagnosis = diagnose::diagnose(outcome.evidence);
  outcome.shapes.targets = diagnose::shapes_of(outcome.evidence);
  outcome.shapes.realtime_offset_ns = outcome.evidence.run.realtime_offset_ns;
  if (outcome.places) {
    outcome.sums = sum_places(near.observations, *outcome.places, outcome.diagnosis);
  }
  return outcome;
}

std::string read_text(const ReadCapture& read) {
  const capture::TrackerCounts& counts = read.counts;
  std::string text = fmt::format(
      "{} {}: {} packets in {}, {} requests, {} answers, {} sent again", read.interrupted ? "Interrupted while reading" : "Read",
      base::printable(read.name), base::format_count(counts.packet_count), base::format_duration(counts.last_ns - counts.first_ns),
      base::format_count(counts.request_count), base::format_count(counts.answer_count), base::format_count(counts.resent_count));
  const auto also = [&](std::int64_t count, std::string_view what) {
    text += count > 0 ? fmt::format(", {} {}", base::format_count(count), what) : "";
  };
  also(counts.duplicate_count, "seen twice");
  also(counts.tunnelled_count, "in tunnels");
  also(counts.fragment_count, "fragments");
  also(counts.truncated_count, "cut too short");
  also(counts.backwards_count, "older than the one before");
  return text + ".\n";
}

std::string places_sentence(const std::vector<ReadCapture>& reads, const CaptureOutcome& outcome) {
  if (reads.size() < 2) {
    return {};
  }
  if (!outcome.places) {
    return "The two captures have no answered exchange in common: were they recorded at the same time, of the same traffic?\n";
  }
  std::string text =
      fmt::format("{} exchanges are in both; the second clock is known to {}.\n", base::format_count(outcome.places->matched_count),
                  base::format_duration(outcome.places->uncertainty_ns));
  if (outcome.sums.late_count > 0) {
    text += fmt::format(
        "Late ones waited {}\n  ({} before it, {} in its receive queue, {} inside, {} after it, over {} exchanges).\n",
        place_text(outcome.sums, base::printable(outcome.evidence.run.target)), base::format_duration(outcome.sums.before_ns),
        base::format_duration(outcome.sums.queued_ns), base::format_duration(outcome.sums.inside_ns),
        base::format_duration(outcome.sums.after_ns), base::format_count(outcome.sums.late_count));
  }
  return text;
}

std::string capture_json(const std::vector<ReadCapture>& reads, const CaptureOutcome& outcome) {
  Json json = Json::parse(report::render_json(outcome.evidence, outcome.diagnosis));
  Json captures = Json::array();
  for (const ReadCapture& read : reads) {
    const capture::TrackerCounts& counts = read.counts;
    captures.push_back({{"file", base::printable(read.name)},
                        {"packets", counts.packet_count},
                        {"requests", counts.request_count},
                        {"answers", counts.answer_count},
                        {"resent", counts.resent_count},
                        {"seen_twice", counts.duplicate_count},
                        {"tunnelled", counts.tunnelled_count},
                        {"fragments", counts.fragment_count},
                        {"cut_short", counts.truncated_count},
                        {"backwards", counts.backwards_count},
                        {"thinned", read.thinned_count},
                        {"interrupted", read.interrupted},
                        {"damage", read.trouble.damage}});
  }
  json["captures"] = captures;
  if (outcome.places) {
    json["places"] = {{"matched", outcome.places->matched_count},
                      {"clock_uncertainty_ns", outcome.places->uncertainty_ns},
                      {"late", outcome.sums.late_count},
                      {"before_ns", outcome.sums.before_ns},
                      {"receive_queue_ns", outcome.sums.queued_ns},
                      {"inside_ns", outcome.sums.inside_ns},
                      {"after_ns", outcome.sums.after_ns}};
  }
  Json shapes = Json::array();
  const std::string lines = probe_shapes_json(outcome.shapes);
  for (const std::string_view line : base::split(lines, '\n')) {
    if (!line.empty()) {
      shapes.push_back(Json::parse(line));
    }
  }
  json["shapes"] = shapes;
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

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

/// A line for each exchange that was kept, in order of sending.
Status write_csv(const std::vector<Observation>& observations, const std::string& path) {
  std::ofstream file(path);
  file << "kind,source,source_port,destination,destination_port,echo_id,echo_sequence,sent_ns,rtt_ns,answer,resent\n";
  for (const Observation& observation : observations) {
    const capture::ExchangeKey& key = observation.key;
    const bool echo = key.kind == capture::ExchangeKind::echo;
    const std::string ports = echo ? fmt::format("{},,{},,{},{}", capture::address_text(key.near, key.v6),
                                                 capture::address_text(key.far, key.v6), key.near_port, key.far_port)
                                   : fmt::format("{},{},{},{},,", capture::address_text(key.near, key.v6), key.near_port,
                                                 capture::address_text(key.far, key.v6), key.far_port);
    file << fmt::format("{},{},{},{},{},{}\n", echo ? "echo" : "handshake", ports, observation.sent_ns,
                        observation.answered() ? fmt::format("{}", observation.rtt_ns()) : "",
                        evidence::answer_kind_id(observation.answer), observation.resent_count);
  }
  file.flush();
  return file ? base::ok() : Status(base::Error{"write", path, "the file could not be written", "Is the disk full?"});
}

}  // namespace

Result<bool> run_capture(const CaptureRunOptions& options) {
  std::vector<ReadCapture> reads;
  if (!options.interface.empty()) {
    Result<std::unique_ptr<capture::PacketSource>> source = capture::open_interface(options.interface, options.filter);
    if (!source) {
      return source.error();
    }
    Result<ReadCapture> read = read_capture(**source, options.interface, options);
    if (!read) {
      return read.error();
    }
    reads.push_back(*std::move(read));
  }
  for (const std::string& file : options.files) {
    Result<ReadCapture> read = read_capture(file, options);
    if (!read) {
      return read.error();
    }
    reads.push_back(*std::move(read));
  }
  const CaptureOutcome outcome = conclude(reads);
  if (!options.bundle_path.empty()) {
    if (const Status written = write_capture_bundle(outcome.evidence, options.bundle_path); !written) {
      return written.error();
    }
  }
  if (!options.csv_path.empty()) {
    if (const Status written = write_csv(reads.front().observations, options.csv_path); !written) {
      return written.error();
    }
  }
  if (options.json) {
    print_out(capture_json(reads, outcome));
  } else {
    for (const ReadCapture& read : reads) {
      print_out(read_text(read));
    }
    print_out(places_sentence(reads, outcome) + "\n");
    const Terminal terminal = describe_terminal(STDOUT_FILENO);
    report::TextOptions text;
    text.colour = terminal.colour;
    text.all = options.all;
    text.bundle_path = options.bundle_path;
    print_out(report::render_text(outcome.evidence, outcome.diagnosis, text));
    const std::string shapes =
        render_probe_shapes(outcome.shapes, {.width = terminal.width, .utf8 = terminal.utf8, .all = options.all});
    print_out(shapes.empty() ? "" : "\n" + shapes);
  }
  return outcome.diagnosis.outcome != diagnose::Outcome::clean;
}

}  // namespace stallscope::cli
