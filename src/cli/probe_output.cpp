// SPDX-License-Identifier: Apache-2.0
#include "cli/probe_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "base/units.h"

namespace stallscope::cli {
namespace {

using base::format_count;
using base::format_duration;
using base::LatencyHistogram;
using evidence::AnswerKind;
using evidence::HttpRecord;
using evidence::ProbeRecord;
using nlohmann::ordered_json;
using probe::ProbeFateKind;
using probe::TargetScore;

/// Of many targets so many are listed.
constexpr std::size_t shown_targets = 12;
constexpr std::size_t line_width = 80;
constexpr std::size_t bar_width = 40;

struct Quantile {
  std::string_view name;
  double fraction;
};
constexpr std::array<Quantile, 4> quantiles = {{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}};

std::string_view fate_id(ProbeFateKind fate) {
  constexpr std::array<std::string_view, 5> ids = {"on_time", "late", "own_late", "lost", "answer_lost"};
  return ids.at(static_cast<std::size_t>(fate));
}

std::string_view answer_name(AnswerKind answer) {
  constexpr std::array<std::string_view, evidence::all_answer_kinds.size()> names = {
      "no answer", "echo reply", "SYN-ACK", "resent SYN-ACK", "RST", "answer", "response", "ACK"};
  return names.at(static_cast<std::size_t>(answer));
}

constexpr std::size_t label_width = 17;
constexpr std::size_t cell_width = 10;

/// Headings of what quantile_row() prints.
std::string quantile_heading() {
  std::string text = fmt::format("  {:<{}}{:>{}}", "", label_width, "min", cell_width);
  for (const Quantile& quantile : quantiles) {
    text += fmt::format("{:>{}}", quantile.name, cell_width);
  }
  return text + fmt::format("{:>{}}\n", "max", cell_width);
}

std::string quantile_row(std::string_view label, const LatencyHistogram& histogram) {
  std::string text = fmt::format("  {:<{}}{:>{}}", label, label_width, format_duration(histogram.minimum_ns()), cell_width);
  for (const Quantile& quantile : quantiles) {
    text += fmt::format("{:>{}}", format_duration(histogram.quantile_ns(quantile.fraction)), cell_width);
  }
  return text + fmt::format("{:>{}}\n", format_duration(histogram.maximum_ns()), cell_width);
}

std::string share(std::int64_t count, std::int64_t of) {
  return of == 0 || count == 0 ? ""
                               : fmt::format(" ({})", base::format_percent(static_cast<double>(count) / static_cast<double>(of)));
}

std::string title_of(const probe::ProbeTarget& target) {
  std::string title = base::shorten(base::printable(target.name), 48);
  const std::string address = probe::endpoint_text(target.to);
  const std::string_view kind = evidence::probe_kind_id(target.kind);
  return target.name == address || target.name == probe::address_text(target.to) ? fmt::format("{} ({})", title, kind)
                                                                                 : fmt::format("{} ({} {})", title, kind, address);
}

std::string counts_text(const TargetScore& score, std::int64_t duplicates) {
  std::string answers;
  for (std::size_t i = 1; i < score.answers.size(); ++i) {
    if (score.answers.at(i) > 0) {
      answers += fmt::format("{}{} {}", answers.empty() ? ": " : ", ", format_count(score.answers.at(i)),
                             answer_name(static_cast<AnswerKind>(i)));
    }
  }
  std::string text =
      fmt::format("{} sent, {} answered{}; {} lost{}, {} late{}", format_count(score.sent), format_count(score.answered), answers,
                  format_count(score.lost), share(score.lost, score.sent), format_count(score.late), share(score.late, score.sent));
  if (duplicates > 0) {
    text += fmt::format(", {} duplicate", format_count(duplicates));
  }
  if (score.answers_lost > 0) {
    text += fmt::format(", {} of the lost got the far host's second answer", format_count(score.answers_lost));
  }
  if (score.out_of_order > 0) {
    text += fmt::format(", {} out of order", format_count(score.out_of_order));
  }
  return text;
}

/// "status 200 58 times; 2 never connected": responses, and how far those came that got none.
std::string http_text(const probe::HttpScore& score) {
  std::vector<std::string> parts;
  for (const auto& [status, count] : score.statuses) {
    parts.push_back(fmt::format("status {} {} time{}", status, format_count(count), count == 1 ? "" : "s"));
  }
  const auto lost = [&](std::int64_t count, std::string_view how) {
    if (count > 0) {
      parts.push_back(fmt::format("{} {}", format_count(count), how));
    }
  };
  lost(score.not_connected, "never connected");
  lost(score.no_response, "connected and got no response");
  lost(score.cut_short, "got a response that did not end");
  return fmt::format("HTTP: {}", fmt::join(parts, "; "));
}

std::string latency_text(const TargetScore& score) {
  std::string text;
  if (score.answered > 0) {
    text += quantile_heading() + quantile_row("from intended", score.score);
  }
  if (score.http) {
    text += score.answered > 0 || score.http->connect.count() == 0 ? "" : quantile_heading();
    const auto phase = [&](std::string_view label, const LatencyHistogram& histogram) {
      text += histogram.count() > 0 ? quantile_row(label, histogram) : "";
    };
    phase("connect", score.http->connect);
    phase("to first byte", score.http->first_byte);
    phase("rest of response", score.http->rest);
  }
  if (score.path.count() > 0) {
    text += quantile_row("path, by kernel", score.path);
  }
  if (score.far_host.count() > 0) {
    text += quantile_row("in the far host", score.far_host);
  }
  return text;
}

std::string bars(const LatencyHistogram& histogram) {
  std::string text;
  std::int64_t most = 1;
  const auto buckets = histogram.buckets(1);
  for (const auto& bucket : buckets) {
    most = std::max(most, bucket.count);
  }
  for (const auto& bucket : buckets) {
    const auto length = static_cast<std::size_t>((bucket.count * static_cast<std::int64_t>(bar_width) + most - 1) / most);
    text += fmt::format("  {:>8} - {:<8} {:>10}  {}\n", format_duration(bucket.from_ns), format_duration(bucket.to_ns),
                        format_count(bucket.count), std::string(length, '#'));
  }
  return text;
}

/// Those that did worst first: lost, late, slowest.
std::vector<std::size_t> worst_first(const std::vector<TargetScore>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto badness = [&](std::size_t i) { return std::tuple(scores[i].lost, scores[i].late, scores[i].score.maximum_ns()); };
    return badness(a) > badness(b);
  });
  return order;
}

std::string indented(const std::string& sentence) {
  return "  " + base::wrap(base::printable(sentence), line_width - 2, 4) + "\n";
}

std::string own_text(const ProbeReport& report) {
  const probe::SessionCounts& counts = report.summary.counts;
  std::string text = quantile_heading() + quantile_row("own lateness", report.board.own_lateness());
  if (report.board.own_stack().count() > 0) {
    text += quantile_row("own stack", report.board.own_stack());
  }
  if (report.board.own_card().count() > 0) {
    text += quantile_row("own card", report.board.own_card());
  }
  if (report.board.own_queue().count() > 0) {
    text += quantile_row("own RX queue", report.board.own_queue());
  }
  if (report.board.late_by_own_queue() > 0) {
    text +=
        indented(fmt::format("Late only for lying in this host's own receive queue, by the network card's timestamps: {} answers. "
                             "The path is innocent of them.",
                             format_count(report.board.late_by_own_queue())));
  }
  if (report.board.total().own_late > 0) {
    text += indented(fmt::format("{} probes were sent late by this prober and answered in time; they are not counted as late.",
                                 format_count(report.board.total().own_late)));
  }
  if (counts.skipped > 0) {
    text +=
        indented(fmt::format("{} probes of the schedule were not sent: the prober stood still, or every source port or connection "
                             "was taken.",
                             format_count(counts.skipped)));
  }
  return text;
}

std::string notes_text(const ProbeReport& report) {
  std::string text;
  for (const probe::ProbeErrorCount& error : report.summary.errors) {
    const std::string from = error.reporter.family == AF_UNSPEC ? "" : " from " + probe::address_text(error.reporter);
    text += indented(fmt::format("{} times: {}{}.", format_count(error.count), error.what, from));
  }
  const auto counted = [&](std::int64_t count, std::string_view what) {
    if (count > 0) {
      text += indented(fmt::format("{} {}.", format_count(count), what));
    }
  };
  counted(report.summary.counts.send_failed, "probes could not be sent; they are counted as nothing else");
  counted(report.summary.counts.after_timeout, "answers came after the timeout; their probes stay lost");
  counted(report.summary.malformed, "answers were malformed");
  counted(report.summary.socket_drops, "answers were dropped at this prober's full socket; they look lost");
  counted(report.summary.clock_steps, "steps of the wall clock; answers of that moment are timed when read");
  counted(report.summary.ports_freed_early, "source ports were used again early: some losses may be the far host's SYN limit");
  if (report.summary.late_deliveries > 0) {
    text += indented(fmt::format("{} answers waited in this host's own receive path after they were stamped, {} at worst.",
                                 format_count(report.summary.late_deliveries), format_duration(report.summary.worst_delivery_ns)));
  }
  for (const probe::Distortion& distortion : report.distortions) {
    text += indented(fmt::format("{}: {}", distortion.what, distortion.consequence));
  }
  for (const evidence::GapRecord& gap : report.gaps) {
    text += indented(fmt::format("Not available: {} ({}). {}", gap.what, gap.reason, gap.consequence));
  }
  return text.empty() ? text : "Noted\n" + text;
}

ordered_json json_of(const LatencyHistogram& histogram) {
  if (histogram.count() == 0) {
    return nullptr;
  }
  ordered_json json = {{"count", histogram.count()}, {"min_ns", histogram.minimum_ns()}, {"mean_ns", histogram.mean_ns()}};
  for (const Quantile& quantile : quantiles) {
    std::string name(quantile.name);
    std::replace(name.begin(), name.end(), '.', '_');
    json[name + "_ns"] = histogram.quantile_ns(quantile.fraction);
  }
  json["max_ns"] = histogram.maximum_ns();
  return json;
}

ordered_json buckets_json(const LatencyHistogram& histogram) {
  constexpr unsigned precision_bits = 3;
  ordered_json json = ordered_json::array();
  for (const auto& bucket : histogram.buckets(precision_bits)) {
    json.push_back({bucket.from_ns, bucket.to_ns, bucket.count});
  }
  return json;
}

ordered_json json_of(const std::optional<probe::HttpScore>& score) {
  if (!score) {
    return nullptr;
  }
  ordered_json statuses = ordered_json::object();
  for (const auto& [status, count] : score->statuses) {
    statuses[fmt::format("{}", status)] = count;
  }
  return {{"connect", json_of(score->connect)},
          {"first_byte", json_of(score->first_byte)},
          {"rest", json_of(score->rest)},
          {"not_connected", score->not_connected},
          {"no_response", score->no_response},
          {"cut_short", score->cut_short},
          {"statuses", statuses}};
}

ordered_json json_of(const TargetScore& score) {
  ordered_json answers = ordered_json::object();
  for (std::size_t i = 1; i < score.answers.size(); ++i) {
    answers[std::string(evidence::answer_kind_id(static_cast<AnswerKind>(i)))] = score.answers.at(i);
  }
  return {{"sent", score.sent},
          {"answered", score.answered},
          {"answers", answers},
          {"lost", score.lost},
          {"late", score.late},
          {"own_late", score.own_late},
          {"answers_lost", score.answers_lost},
          {"out_of_order", score.out_of_order},
          {"from_intended", json_of(score.score)},
          {"path", json_of(score.path)},
          {"far_host", json_of(score.far_host)},
          {"http", json_of(score.http)}};
}

/// How far an HTTP probe came that was lost.
std::string lost_phase(const ProbeRecord& probe, const HttpRecord& http) {
  if (http.connected_ns == HttpRecord::not_reached) {
    return ", never connected";
  }
  const std::string connected = fmt::format(", connect={}", format_duration(http.connected_ns - probe.sent_ns));
  return http.first_byte_ns == HttpRecord::not_reached
             ? connected + ", no response"
             : fmt::format("{} first-byte={}, no end", connected, format_duration(http.first_byte_ns - probe.sent_ns));
}

std::string line_of(const ordered_json& json) {
  return json.dump(-1, ' ', true, ordered_json::error_handler_t::replace) + "\n";
}

ordered_json unknown_as_null(std::int64_t value) {
  return value < 0 ? ordered_json(nullptr) : ordered_json(value);
}

}  // namespace

bool anything_wrong(const ProbeReport& report) {
  const TargetScore& total = report.board.total();
  return total.late > 0 || total.lost > 0 || report.summary.counts.send_failed > 0;
}

std::string render_probe_text(const ProbeReport& report, const ProbeTextOptions& options) {
  const std::vector<TargetScore>& scores = report.board.targets();
  const TargetScore& total = report.board.total();
  const std::int64_t all_duplicates = report.summary.counts.duplicates;
  std::string text;
  const std::vector<std::size_t> order = worst_first(scores);
  const std::size_t shown = options.all ? order.size() : std::min(order.size(), shown_targets);
  for (std::size_t i = 0; i < shown; ++i) {
    const std::size_t index = order[i];
    text += title_of(report.targets[index]) + "\n";
    text += indented(counts_text(scores[index], report.summary.duplicates[index]));
    text += scores[index].http ? indented(http_text(*scores[index].http)) : "";
    text += latency_text(scores[index]);
  }
  if (shown < order.size()) {
    text += fmt::format("... and {} targets that did better (--all lists them)\n",
                        format_count(static_cast<std::int64_t>(order.size() - shown)));
  }
  if (order.size() > 1) {
    text += fmt::format("All {} targets\n", format_count(static_cast<std::int64_t>(order.size())));
    text += indented(counts_text(total, all_duplicates));
    text += latency_text(total);
  }
  text += fmt::format("This prober: one probe every {} per target; late: {} above the fastest\n",
                      format_duration(report.interval_ns), format_duration(report.late_after_ns));
  text += own_text(report);
  if (options.histogram && total.answered > 0) {
    text += "From the intended time to the answer, all targets\n" + bars(total.score);
  }
  return text + notes_text(report);
}

std::string render_probe_json(const ProbeReport& report) {
  std::string text;
  for (std::size_t i = 0; i < report.targets.size(); ++i) {
    const probe::ProbeTarget& target = report.targets[i];
    ordered_json json = {{"type", "target"},
                         {"target", target.name},
                         {"kind", evidence::probe_kind_id(target.kind)},
                         {"address", probe::address_text(target.to)},
                         {"port", target.to.port},
                         {"duplicates", report.summary.duplicates[i]}};
    json.update(json_of(report.board.targets()[i]));
    text += line_of(json);
  }
  const probe::SessionCounts& counts = report.summary.counts;
  ordered_json json = {{"type", "summary"},
                       {"schema_version", 1},
                       {"outcome", anything_wrong(report) ? "findings" : "clean"},
                       {"interrupted", report.summary.interrupted},
                       {"start_ns", report.summary.start_ns},
                       {"end_ns", report.summary.end_ns},
                       {"interval_ns", report.interval_ns},
                       {"late_after_ns", report.late_after_ns},
                       {"planned", report.summary.planned},
                       {"skipped", counts.skipped},
                       {"send_failed", counts.send_failed},
                       {"duplicates", counts.duplicates},
                       {"after_timeout", counts.after_timeout},
                       {"foreign", counts.foreign},
                       {"malformed", report.summary.malformed},
                       {"socket_drops", report.summary.socket_drops},
                       {"clock_steps", report.summary.clock_steps},
                       {"late_deliveries", report.summary.late_deliveries},
                       {"realtime", report.summary.realtime},
                       {"window_bytes", report.window_bytes},
                       {"own_lateness", json_of(report.board.own_lateness())},
                       {"own_stack", json_of(report.board.own_stack())},
                       {"own_card", json_of(report.board.own_card())},
                       {"own_queue", json_of(report.board.own_queue())},
                       {"late_by_own_queue", report.board.late_by_own_queue()}};
  json.update(json_of(report.board.total()));
  json["histogram"] = buckets_json(report.board.total().score);
  json["errors"] = ordered_json::array();
  for (const probe::ProbeErrorCount& error : report.summary.errors) {
    json["errors"].push_back({{"what", error.what}, {"reporter", probe::address_text(error.reporter)}, {"count", error.count}});
  }
  json["distortions"] = ordered_json::array();
  for (const probe::Distortion& distortion : report.distortions) {
    json["distortions"].push_back({{"what", distortion.what}, {"consequence", distortion.consequence}});
  }
  json["gaps"] = ordered_json::array();
  for (const evidence::GapRecord& gap : report.gaps) {
    json["gaps"].push_back({{"what", gap.what}, {"reason", gap.reason}, {"consequence", gap.consequence}});
  }
  return text + line_of(json);
}

std::string probe_line_text(const probe::ProbeTarget& target, const evidence::FlowRecord& flow, const ProbeRecord& probe,
                            ProbeFateKind fate, const HttpRecord* http) {
  std::string text = fmt::format("{} seq={}", base::printable(target.name), probe.sequence);
  if (flow.source_port != 0) {
    text += fmt::format(" sport={}", flow.source_port);
  }
  if (!probe.answered()) {
    text += fate == ProbeFateKind::answer_lost ? " lost, and answered again by the far host's timer" : " lost";
    return text + (http != nullptr ? lost_phase(probe, *http) : "") + "\n";
  }
  text += fmt::format(" {} rtt={}", answer_name(probe.answer), format_duration(probe.score_ns()));
  if (probe.transmitted_ns != ProbeRecord::unknown) {
    text += fmt::format(" path={}", format_duration(probe.received_ns - probe.transmitted_ns));
  }
  if (probe.far_host_ns != ProbeRecord::unknown) {
    text += fmt::format(" far={}", format_duration(probe.far_host_ns));
  }
  if (probe.own_queue_ns() != ProbeRecord::unknown) {
    text += fmt::format(" own-queue={}", format_duration(probe.own_queue_ns()));
  }
  // A closed port answers, too: there is no response then.
  if (http != nullptr && http->finished_ns != HttpRecord::not_reached) {
    text += fmt::format(" status={} connect={} first-byte={}", http->status, format_duration(http->connected_ns - probe.sent_ns),
                        format_duration(http->first_byte_ns - probe.sent_ns));
  }
  if (fate == ProbeFateKind::late) {
    text += " LATE";
  } else if (fate == ProbeFateKind::own_late) {
    text += " sent late by " + format_duration(probe.own_lateness_ns());
  }
  return text + "\n";
}

std::string probe_line_json(const evidence::FlowRecord& flow, const ProbeRecord& probe, ProbeFateKind fate,
                            const HttpRecord* http) {
  ordered_json json = {{"type", "probe"},
                       {"sequence", probe.sequence},
                       {"kind", evidence::probe_kind_id(flow.kind)},
                       {"target", flow.target},
                       {"flow_id", flow.id},
                       {"source_port", flow.source_port},
                       {"fate", fate_id(fate)},
                       {"answer", evidence::answer_kind_id(probe.answer)},
                       {"intended_ns", probe.intended_ns},
                       {"sent_ns", probe.sent_ns},
                       {"transmitted_ns", unknown_as_null(probe.transmitted_ns)},
                       {"received_ns", unknown_as_null(probe.received_ns)},
                       {"far_host_ns", unknown_as_null(probe.far_host_ns)},
                       {"hardware_transmitted_ns", unknown_as_null(probe.hardware_transmitted_ns)},
                       {"hardware_received_ns", unknown_as_null(probe.hardware_received_ns)}};
  if (http != nullptr) {
    json["http_status"] = http->status != 0 ? ordered_json(http->status) : ordered_json(nullptr);
    json["connected_ns"] = unknown_as_null(http->connected_ns);
    json["first_byte_ns"] = unknown_as_null(http->first_byte_ns);
  }
  return line_of(json);
}

std::string progress_line(const probe::ScoreBoard& board, std::int64_t elapsed_ns, std::int64_t planned_ns) {
  const TargetScore& total = board.total();
  return fmt::format("{} of {} s: {} probes, {} lost, {} late, p50 {} p99 {} max {} (Ctrl-C ends early)",
                     elapsed_ns / base::ns_per_s, planned_ns / base::ns_per_s, format_count(total.sent), format_count(total.lost),
                     format_count(total.late), format_duration(total.score.quantile_ns(0.5)),
                     format_duration(total.score.quantile_ns(0.99)), format_duration(total.score.maximum_ns()));
}

}  // namespace stallscope::cli
