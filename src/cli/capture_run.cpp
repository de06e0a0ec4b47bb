// SPDX-License-Identifier: Apache-2.0
#include "cli/capture_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "capture/annotate.h"
#include "capture/file_source.h"
#include "capture/libpcap.h"
#include "cli/capture_conclusion.h"
#include "cli/capture_files.h"
#include "cli/capture_text.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "report/text.h"

namespace stallscope::cli {
namespace {

using base::Result;
using base::Status;

constexpr std::size_t read_batch_size = 256;
constexpr std::int64_t reading_shown_every_ns = base::ns_per_s;

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

Result<ReadCapture> read_capture(capture::PacketSource& source, const std::string& name, const CaptureRunOptions& options,
                                 bool with_flows) {
  std::optional<capture::PacketFilter> filter;
  if (!options.filter.empty() && options.interface.empty()) {
    Result<capture::PacketFilter> made = capture::PacketFilter::make(options.filter);
    if (!made) {
      return made.error();
    }
    filter = *std::move(made);
  }
  capture::Analysis analysis(with_flows);
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
    analysis.add(std::span(batch).first(count));
    progress.update(source.progress(), analysis.packet_count());
  }
  read.interrupted = read.interrupted || InterruptGuard::requested();
  read.name = name;
  read.findings = analysis.finish();
  read.trouble = source.trouble();
  read.interfaces = source.interfaces();
  return read;
}

Result<std::vector<ReadCapture>> read_all(const CaptureRunOptions& options) {
  std::vector<ReadCapture> reads;
  const auto add = [&](Result<std::unique_ptr<capture::PacketSource>> source, const std::string& name) -> Status {
    if (!source) {
      return source.error();
    }
    // Tables are of the first capture, the one of who asks.
    Result<ReadCapture> read = read_capture(**source, name, options, reads.empty() && !options.flows_path.empty());
    if (!read) {
      return read.error();
    }
    reads.push_back(*std::move(read));
    return base::ok();
  };
  if (!options.interface.empty()) {
    if (const Status added = add(capture::open_interface(options.interface, options.filter), options.interface); !added) {
      return added.error();
    }
  }
  for (const std::string& file : options.files) {
    if (const Status added = add(capture::open_capture(file), file == "-" ? "standard input" : file); !added) {
      return added.error();
    }
  }
  return reads;
}

Status write_files(const CaptureRunOptions& options, ReadCapture& read, const CaptureOutcome& outcome) {
  if (!options.bundle_path.empty()) {
    if (Status written = write_capture_bundle(outcome.evidence, options.bundle_path); !written) {
      return written;
    }
  }
  if (!options.csv_path.empty()) {
    if (Status written = write_exchanges_csv(read.findings, options.csv_path); !written) {
      return written;
    }
  }
  if (options.flows_path.empty() && options.plot_path.empty() && options.annotate_path.empty()) {
    return base::ok();
  }
  const std::vector<HeldExchange> held = held_exchanges(read, outcome);
  if (!options.flows_path.empty()) {
    if (Status written = write_flows_csv(read, held, options.flows_path); !written) {
      return written;
    }
  }
  if (!options.plot_path.empty()) {
    if (Status written = write_plot(read, outcome, held, options.plot_path); !written) {
      return written;
    }
  }
  if (!options.annotate_path.empty()) {
    // The first Ctrl-C ended the reading, if there was one; comments are on what was read.
    const bool before = InterruptGuard::requested();
    const Result<capture::Annotated> annotated =
        write_annotated(read, outcome, held, options.annotate_path, [before] { return !before && InterruptGuard::requested(); });
    if (!annotated) {
      return annotated.error();
    }
    fmt::print(stderr, "{}: {} comments on {} packets\n", base::printable(options.annotate_path),
               base::format_count(annotated->comment_count), base::format_count(annotated->packet_count));
  }
  return base::ok();
}

void print_all(const CaptureRunOptions& options, const std::vector<ReadCapture>& reads, const QueueQuestion& question,
               const CaptureOutcome& outcome) {
  for (const ReadCapture& read : reads) {
    print_out(read_text(read));
  }
  print_out(places_sentence(reads, outcome) + passages_sentence(outcome.passages) + "\n");
  const Terminal terminal = describe_terminal(STDOUT_FILENO);
  report::TextOptions text;
  text.colour = terminal.colour;
  text.all = options.all;
  text.bundle_path = options.bundle_path;
  print_out(report::render_text(outcome.evidence, outcome.diagnosis, text));
  for (const std::string& part :
       {render_probe_shapes(outcome.shapes, {.width = terminal.width, .utf8 = terminal.utf8, .all = options.all}),
        queues_text(outcome, question, {.width = terminal.width, .all = options.all}),
        responses_text(reads.front().findings, options.all), releases_text(reads.front().findings, options.all)}) {
    print_out(part.empty() ? "" : "\n" + part);
  }
}

}  // namespace

Result<bool> run_capture(const CaptureRunOptions& options) {
  if (!options.annotate_path.empty()) {
    const std::string& from = options.files.empty() ? options.interface : options.files.front();
    if (const Status possible = capture::can_annotate(from, options.annotate_path); !possible) {
      return possible.error();
    }
  }
  Result<std::vector<ReadCapture>> reads = read_all(options);
  if (!reads) {
    return reads.error();
  }
  const QueueQuestion question{options.rss_key, options.rss_host};
  const CaptureOutcome outcome = conclude(*reads, question);
  if (const Status written = write_files(options, reads->front(), outcome); !written) {
    return written.error();
  }
  if (options.json) {
    print_out(capture_json(*reads, outcome));
  } else {
    print_all(options, *reads, question, outcome);
  }
  return outcome.diagnosis.outcome != diagnose::Outcome::clean;
}

}  // namespace stallscope::cli
