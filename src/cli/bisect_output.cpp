// SPDX-License-Identifier: Apache-2.0
#include "cli/bisect_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/text.h"
#include "base/units.h"
#include "cli/terminal.h"

namespace stallscope::cli {
namespace {

using base::format_count;
using base::format_duration;
using bisect::Cause;
using bisect::RungCounts;
using bisect::RungSet;
using bisect::SequentialTest;
using nlohmann::ordered_json;

constexpr std::size_t line_width = 80;
constexpr double seconds_per_minute = 60;
/// So often and so long the prober has to be kept from sending to be called what is wrong; less is noise of any host.
constexpr std::int64_t fewest_own_stalls = 3;

std::string paragraph(const std::string& text, std::size_t indent = 0) {
  return base::wrap(text, line_width, indent) + "\n";
}

std::string times(std::int64_t count) {
  return count == 1 ? "once" : format_count(count) + " times";
}

std::string plural(std::int64_t count, std::string_view one) {
  return fmt::format("{} {}{}", format_count(count), one, count == 1 ? "" : "s");
}

/// "a", "a or b", "a, b or c"
std::string listed(const std::vector<std::string>& words, std::string_view last = "or") {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    text += i == 0 ? "" : i + 1 == words.size() ? fmt::format(" {} ", last) : ", ";
    text += words[i];
  }
  return text;
}

std::vector<std::string> names(const bisect::Path& path, RungSet set) {
  std::vector<std::string> found;
  for (std::size_t i = 0; i < path.rungs.size(); ++i) {
    if (set.test(i)) {
      found.push_back(path.rungs[i].name);
    }
  }
  return found;
}

RungSet with_decision(const Cause& cause, SequentialTest::Decision decision) {
  RungSet set;
  for (std::size_t i = 0; i < cause.tests.size(); ++i) {
    set.set(i, cause.tests[i].exposed() > 0 && cause.tests[i].decision() == decision);
  }
  return set;
}

/// Whether every rung but the one to this host crosses it: then what lies before it is crossed by all of them, too.
bool is_common_to_all(const BisectReport& report, const std::string& layer) {
  const RungSet crossing = report.path.crossing(layer);
  return layer != bisect::sender_layer && crossing.count() + 1 >= report.path.rungs.size() &&
         report.path.crossing("network").none();
}

std::string suspects_text(const Cause& cause) {
  if (cause.suspects == std::vector<std::string>{std::string(bisect::sender_layer)}) {
    return "this host itself (sender)";
  }
  return listed(cause.suspects);
}

std::string first_line(const BisectReport& report) {
  const bisect::Verdict& verdict = report.verdict;
  switch (outcome_of(report)) {
    case BisectOutcome::no_answers:
      return "Cannot tell: no rung got an answer.";
    case BisectOutcome::no_stall:
      return fmt::format(
          "No stall in {}: with 95 % confidence fewer than one per {}.", format_duration(verdict.observed_ns),
          format_duration(static_cast<std::int64_t>(static_cast<double>(verdict.observed_ns) / bisect::poisson_upper_bound(0))));
    case BisectOutcome::sender:
      return fmt::format("Packets wait in this host itself (sender): the prober was kept from sending {} in {}, for {} at worst.",
                         times(report.own_stall_count), format_duration(verdict.observed_ns),
                         format_duration(report.worst_own_stall_ns));
    case BisectOutcome::undecided:
    case BisectOutcome::found:
    case BisectOutcome::no_such_layer:
      break;
  }
  std::vector<const Cause*> found;
  std::vector<std::string> places;
  for (const Cause& cause : verdict.causes) {
    if (cause.state == Cause::State::found) {
      found.push_back(&cause);
      places.push_back(
          fmt::format("{} ({})", suspects_text(cause), plural(static_cast<std::int64_t>(cause.stalls.size()), "stall")));
    }
  }
  if (found.size() > 1) {
    return fmt::format("Packets wait in {} places: {}.", found.size(), listed(places, "and"));
  }
  if (found.size() == 1) {
    return fmt::format("Packets wait in {}.", suspects_text(*found.front()));
  }
  if (outcome_of(report) == BisectOutcome::no_such_layer) {
    return "No layer of this path fits what was seen.";
  }
  // There is an open one, or the outcome would be another.
  const Cause& cause = *std::find_if(verdict.causes.begin(), verdict.causes.end(),
                                     [](const Cause& each) { return each.state == Cause::State::open; });
  return fmt::format("Cannot tell yet: {} in {}. {} more may be enough, which takes about {} at this rate.",
                     plural(verdict.stall_count, "stall"), format_duration(verdict.observed_ns), format_count(cause.stalls_missing),
                     format_duration(cause.time_missing_ns));
}

/// How many, how long, and whom they hit.
std::string stalls_text(const BisectReport& report, const Cause& cause) {
  std::vector<std::int64_t> lengths;
  std::transform(cause.stalls.begin(), cause.stalls.end(), std::back_inserter(lengths),
                 [](const bisect::Stall& stall) { return stall.length_ns(); });
  const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
  const auto count = static_cast<std::int64_t>(cause.stalls.size());
  std::string text = report.verdict.causes.size() > 1 && cause.state == Cause::State::found ? listed(cause.suspects) + ": " : "";
  text += fmt::format("{} in {}, ", plural(count, "stall"), format_duration(report.verdict.observed_ns));
  text += count == 1 ? fmt::format("{} long.", format_duration(*longest))
                     : fmt::format("{} to {} long.", format_duration(*shortest), format_duration(*longest));
  const std::vector<std::string> hit = names(report.path, with_decision(cause, SequentialTest::Decision::crosses) & ~report.silent);
  const std::vector<std::string> clean = names(report.path, with_decision(cause, SequentialTest::Decision::clean) & ~report.silent);
  const std::vector<std::string> open = names(report.path, with_decision(cause, SequentialTest::Decision::open) & ~report.silent);
  text += hit.empty() ? "" : fmt::format(" They hit {}", listed(hit, "and"));
  text += clean.empty() ? "" : fmt::format("{} not {}", hit.empty() ? " They did" : ",", listed(clean, "or"));
  text += hit.empty() && clean.empty() ? "" : ".";
  text += open.empty() ? "" : fmt::format(" Not decided: {}.", listed(open, "and"));
  return paragraph(text);
}

std::string remark(const BisectReport& report, const Cause& cause) {
  std::string text;
  if (cause.state == Cause::State::no_such_layer) {
    return paragraph(
        "The rungs that were late have no layer in common that the others lack: the path misses a layer, or a rung says it "
        "crosses one that it does not.");
  }
  if (cause.state != Cause::State::found) {
    return text;
  }
  if (cause.suspects.size() > 1) {
    text += paragraph(fmt::format("No rung crosses {} alone: one that leaves out either would tell them apart.",
                                  cause.suspects.size() == 2 ? "either" : "one of them"));
  }
  if (std::any_of(cause.suspects.begin(), cause.suspects.end(),
                  [&](const std::string& layer) { return is_common_to_all(report, layer); })) {
    text += paragraph(
        fmt::format("{} is crossed by every rung, and so is the network up to it: a rung to a neighbour of it, via network, "
                    "would tell these apart.",
                    cause.suspects.front()));
  }
  return text;
}

/// "40 (22-67)": stalls a minute, and between which rates the true one lies.
std::string rate_text(const RungCounts& rung, std::int64_t observed_ns) {
  const double minutes = static_cast<double>(observed_ns) / (seconds_per_minute * base::ns_per_s);
  if (minutes <= 0) {
    return "-";
  }
  const bisect::Interval interval = bisect::poisson_interval(rung.stall_count);
  const auto number = [](double value) { return fmt::format("{:.{}f}", value, value < 10 && value > 0 ? 1 : 0); };
  return fmt::format("{} ({}-{})", number(static_cast<double>(rung.stall_count) / minutes), number(interval.low / minutes),
                     number(interval.high / minutes));
}

struct StalledShare {
  double share = 0;
  bisect::Interval interval;
};

/// A compound Poisson sum: its variance is the sum of the squares.
StalledShare stalled_share(const RungCounts& rung, std::int64_t observed_ns) {
  if (observed_ns <= 0) {
    return {};
  }
  constexpr double z = 1.96;
  const double seconds = static_cast<double>(observed_ns) / base::ns_per_s;
  const double share = static_cast<double>(rung.stalled_ns) / static_cast<double>(observed_ns);
  const double half = z * std::sqrt(rung.stalled_square_sum) / seconds;
  return {share, {std::max(0.0, share - half), std::min(1.0, share + half)}};
}

std::string table(const BisectReport& report) {
  std::size_t width = 4;
  for (const bisect::Rung& rung : report.path.rungs) {
    width = std::max(width, std::min<std::size_t>(rung.name.size(), 22));
  }
  std::string text = fmt::format("  {:<{}}  {:>9}  {:>16}  {:>7}  {:>8}  {:>8}  {}\n", "rung", width, "stalls of",
                                 "stalls/min (95%)", "stalled", "worst", "usual", "lost");
  for (std::size_t i = 0; i < report.path.rungs.size(); ++i) {
    const RungCounts& rung = report.rungs[i];
    std::int64_t hits = 0;
    std::int64_t exposed = 0;
    for (const Cause& cause : report.verdict.causes) {
      hits += cause.tests[i].hits();
      exposed += cause.tests[i].exposed();
    }
    const std::string name = fmt::format("  {:<{}}  ", base::shorten(report.path.rungs[i].name, width), width);
    if (rung.answered == 0) {
      text += name + fmt::format("{:>9}  no answer to {}\n", "-", plural(rung.lost, "probe"));
      continue;
    }
    text += name + fmt::format("{:>9}  {:>16}  {:>7}  {:>8}  {:>8}  {}\n", fmt::format("{}/{}", hits, exposed),
                               rate_text(rung, report.verdict.observed_ns),
                               base::format_percent(stalled_share(rung, report.verdict.observed_ns).share),
                               format_duration(rung.worst_ns), format_duration(rung.usual_ns),
                               rung.lost == 0 ? "0"
                                              : fmt::format("{} ({})", format_count(rung.lost),
                                                            base::format_percent(static_cast<double>(rung.lost) /
                                                                                 static_cast<double>(rung.lost + rung.answered))));
  }
  return text;
}

std::string exonerations(const BisectReport& report, const Cause& cause) {
  std::size_t width = 0;
  for (const bisect::Exoneration& exoneration : cause.exonerated) {
    width = std::max(width, exoneration.layer.size());
  }
  std::string text;
  for (const bisect::Exoneration& exoneration : cause.exonerated) {
    const std::string& rung = report.path.rungs[exoneration.rung].name;
    const std::string said =
        exoneration.crossed_and_clean
            ? fmt::format("{} crosses it and was on time in {} of {} stalls", rung, exoneration.exposed - exoneration.hits,
                          exoneration.exposed)
            : fmt::format("{} does not cross it and stalls all the same: {} of {}", rung, exoneration.hits, exoneration.exposed);
    text += entry("  not " + exoneration.layer, said, width + 8, line_width) + "\n";
  }
  return text;
}

std::string loss_text(const BisectReport& report) {
  if (report.loss.suspects.empty()) {
    return {};
  }
  return paragraph(fmt::format("Loss is another matter: {} lost more than the others, which points at {}.",
                               listed(names(report.path, report.loss.losing), "and"), listed(report.loss.suspects)));
}

std::string notes(const BisectReport& report) {
  std::string text;
  const auto note = [&](const std::string& sentence) {
    text += "  " + base::wrap(base::printable(sentence), line_width - 2, 4) + "\n";
  };
  if (report.own_stall_count > 0) {
    std::string own = fmt::format(
        "The prober itself was kept from sending {}, {} in all, {} at worst; what it sent late does not count",
        times(report.own_stall_count), format_duration(report.own_stalled_ns), format_duration(report.worst_own_stall_ns));
    own += report.stalls_set_aside > 0
               ? fmt::format(", nor {} {} at these times: an answer may have waited for the prober.",
                             report.stalls_set_aside == 1 ? "does" : "do", plural(report.stalls_set_aside, "stall"))
               : ".";
    note(own);
  }
  for (const std::string& name : names(report.path, report.silent)) {
    note(fmt::format("{} never answered and is left out: is its target right, and does a firewall let it through?", name));
  }
  for (const std::string& error : report.errors) {
    note(error);
  }
  for (const evidence::GapRecord& gap : report.gaps) {
    note(fmt::format("Not available: {} ({}). {}", gap.what, gap.reason, gap.consequence));
  }
  if (report.interrupted) {
    note("Interrupted before every rung was decided.");
  }
  return text.empty() ? text : "Noted\n" + text;
}

std::string_view outcome_id(BisectOutcome outcome) {
  constexpr std::array<std::string_view, 6> ids = {"no_stall", "found", "no_such_layer", "undecided", "sender", "no_answers"};
  return ids.at(static_cast<std::size_t>(outcome));
}

std::string_view state_id(Cause::State state) {
  constexpr std::array<std::string_view, 3> ids = {"found", "no_such_layer", "undecided"};
  return ids.at(static_cast<std::size_t>(state));
}

std::string_view decision_id(SequentialTest::Decision decision) {
  constexpr std::array<std::string_view, 3> ids = {"undecided", "hit", "clean"};
  return ids.at(static_cast<std::size_t>(decision));
}

ordered_json json_of(const bisect::Interval& interval) {
  return {interval.low, interval.high};
}

ordered_json json_of(const BisectReport& report, const Cause& cause) {
  ordered_json json = {{"state", state_id(cause.state)}, {"suspects", cause.suspects}};
  json["exonerated"] = ordered_json::array();
  for (const bisect::Exoneration& exoneration : cause.exonerated) {
    json["exonerated"].push_back({{"layer", exoneration.layer},
                                  {"rung", report.path.rungs[exoneration.rung].name},
                                  {"because", exoneration.crossed_and_clean ? "crossed_and_on_time" : "not_crossed_and_late"},
                                  {"hits", exoneration.hits},
                                  {"exposed", exoneration.exposed}});
  }
  json["stalls_missing"] = cause.state == Cause::State::open ? ordered_json(cause.stalls_missing) : ordered_json(nullptr);
  json["time_missing_ns"] = cause.state == Cause::State::open ? ordered_json(cause.time_missing_ns) : ordered_json(nullptr);
  json["rungs"] = ordered_json::array();
  for (std::size_t i = 0; i < cause.tests.size(); ++i) {
    const SequentialTest& test = cause.tests[i];
    json["rungs"].push_back({{"rung", report.path.rungs[i].name},
                             {"hits", test.hits()},
                             {"exposed", test.exposed()},
                             {"hit_share", json_of(bisect::wilson_interval(test.hits(), test.exposed()))},
                             {"decision", decision_id(test.decision())}});
  }
  json["stalls"] = ordered_json::array();
  for (const bisect::Stall& stall : cause.stalls) {
    json["stalls"].push_back({{"start_ns", stall.start_ns},
                              {"end_ns", stall.end_ns},
                              {"hit", names(report.path, stall.hit)},
                              {"exposed", names(report.path, stall.exposed)}});
  }
  return json;
}

}  // namespace

BisectOutcome outcome_of(const BisectReport& report) {
  if (report.rungs.empty() ||
      std::none_of(report.rungs.begin(), report.rungs.end(), [](const RungCounts& r) { return r.answered > 0; })) {
    return BisectOutcome::no_answers;
  }
  const std::vector<Cause>& causes = report.verdict.causes;
  const auto any = [&](Cause::State state) {
    return std::any_of(causes.begin(), causes.end(), [&](const Cause& cause) { return cause.state == state; });
  };
  if (any(Cause::State::found)) {
    return BisectOutcome::found;
  }
  const bool held_up = report.own_stall_count >= fewest_own_stalls && report.worst_own_stall_ns >= 2 * report.late_after_ns;
  // A stall or two that nothing is known of yet do not hide what is known of the prober.
  if (any(Cause::State::open) && !(held_up && report.own_stall_count > fewest_own_stalls * report.verdict.stall_count)) {
    return BisectOutcome::undecided;
  }
  if (any(Cause::State::no_such_layer)) {
    return BisectOutcome::no_such_layer;
  }
  return held_up ? BisectOutcome::sender : BisectOutcome::no_stall;
}

bool anything_wrong(const BisectReport& report) {
  return outcome_of(report) != BisectOutcome::no_stall ||
         std::any_of(report.rungs.begin(), report.rungs.end(), [](const RungCounts& rung) { return rung.lost > 0; });
}

std::string render_bisect_text(const BisectReport& report) {
  std::string text = paragraph(first_line(report));
  for (const Cause& cause : report.verdict.causes) {
    text += stalls_text(report, cause) + remark(report, cause);
  }
  text += loss_text(report) + "\n" + table(report);
  for (const Cause& cause : report.verdict.causes) {
    if (!cause.exonerated.empty()) {
      text += "\n";
      text += report.verdict.causes.size() > 1 ? fmt::format("Waits in {}:\n", listed(cause.suspects)) : "";
      text += exonerations(report, cause);
    }
  }
  const std::string noted = notes(report);
  return text + (noted.empty() ? "" : "\n" + noted);
}

std::string render_bisect_json(const BisectReport& report) {
  ordered_json json = {{"schema_version", 1},
                       {"type", "bisect"},
                       {"outcome", outcome_id(outcome_of(report))},
                       {"interrupted", report.interrupted},
                       {"observed_ns", report.verdict.observed_ns},
                       {"interval_ns", report.interval_ns},
                       {"late_after_ns", report.late_after_ns},
                       {"stall_count", report.verdict.stall_count}};
  json["causes"] = ordered_json::array();
  for (const Cause& cause : report.verdict.causes) {
    json["causes"].push_back(json_of(report, cause));
  }
  json["rungs"] = ordered_json::array();
  const double seconds = static_cast<double>(report.verdict.observed_ns) / base::ns_per_s;
  for (std::size_t i = 0; i < report.path.rungs.size(); ++i) {
    const bisect::Rung& rung = report.path.rungs[i];
    const RungCounts& counts = report.rungs[i];
    const bisect::Interval expected = bisect::poisson_interval(counts.stall_count);
    const StalledShare stalled = stalled_share(counts, report.verdict.observed_ns);
    const ordered_json rates =
        seconds <= 0 ? ordered_json(nullptr) : ordered_json({expected.low / seconds, expected.high / seconds});
    json["rungs"].push_back({{"name", rung.name},
                             {"probe", rung.target},
                             {"from", rung.from.empty() ? ordered_json(nullptr) : ordered_json(rung.from)},
                             {"via", rung.layers},
                             {"sent", counts.sent},
                             {"answered", counts.answered},
                             {"late", counts.late},
                             {"lost", counts.lost},
                             {"own_late", counts.own_late},
                             {"silent", report.silent.test(i)},
                             {"usual_ns", counts.usual_ns},
                             {"late_after_ns", counts.late_after_ns},
                             {"worst_ns", counts.worst_ns},
                             {"stalls", counts.stall_count},
                             {"stalls_per_second", rates},
                             {"stalled_ns", counts.stalled_ns},
                             {"stalled_share", json_of(stalled.interval)}});
  }
  json["loss"] = {{"losing", names(report.path, report.loss.losing)}, {"suspects", report.loss.suspects}};
  json["own_stalls"] = {{"count", report.own_stall_count},
                        {"total_ns", report.own_stalled_ns},
                        {"worst_ns", report.worst_own_stall_ns},
                        {"stalls_set_aside", report.stalls_set_aside}};
  json["errors"] = report.errors;
  json["gaps"] = ordered_json::array();
  for (const evidence::GapRecord& gap : report.gaps) {
    json["gaps"].push_back({{"what", gap.what}, {"reason", gap.reason}, {"consequence", gap.consequence}});
  }
  return json.dump(2, ' ', true, ordered_json::error_handler_t::replace) + "\n";
}

std::string bisect_progress(const bisect::Path& path, const bisect::Verdict& verdict, std::int64_t elapsed_ns,
                            std::int64_t duration_ns, std::size_t width) {
  std::string text = fmt::format("{} of {}: {}", format_duration(elapsed_ns / base::ns_per_s * base::ns_per_s),
                                 format_duration(duration_ns), plural(verdict.stall_count, "stall"));
  if (!verdict.causes.empty()) {
    text += "; late in: ";
    for (std::size_t i = 0; i < path.rungs.size(); ++i) {
      const SequentialTest& test = verdict.causes.front().tests[i];
      text += fmt::format("{}{} {}/{}", i == 0 ? "" : ", ", path.rungs[i].name, test.hits(), test.exposed());
    }
  }
  return text.size() < width ? text : text.substr(0, width - 1);
}

}  // namespace stallscope::cli
