// SPDX-License-Identifier: Apache-2.0
#include "report/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "diagnose/stacks.h"
#include "diagnose/stalls.h"
#include "report/layout.h"
#include "report/packets.h"
#include "report/text_parts.h"

namespace stallscope::report {
namespace {

using base::format_count;
using base::format_duration;
using base::format_ms;
using base::printable;
using diagnose::Diagnosis;
using diagnose::Finding;
using diagnose::OtherCause;
using diagnose::Stall;
using evidence::Evidence;
using evidence::RunRecord;

// A report narrower than this would break every line.
constexpr std::size_t least_width = 60;
constexpr std::size_t finding_label_indent = 2;
constexpr std::size_t finding_indent = 8;

std::int64_t run_length_ns(const RunRecord& run) {
  return std::max<std::int64_t>(0, diagnose::saturating_subtract(run.end_ns, run.start_ns));
}

std::string target_name(const RunRecord& run) {
  return run.target_address.empty() || run.target_address == run.target ? run.target
                                                                        : fmt::format("{} ({})", run.target, run.target_address);
}

/// "ICMP echoes", "TCP SYNs to port 443", "probes"
std::string probes_text(const Evidence& evidence, bool one) {
  if (evidence.only_echoes()) {
    return one ? "ICMP echo" : "ICMP echoes";
  }
  const evidence::FlowRecord& first = evidence.flows.front();
  const bool syns_to_one_port = std::all_of(evidence.flows.begin(), evidence.flows.end(), [&](const evidence::FlowRecord& flow) {
    return flow.kind == evidence::ProbeKind::tcp_syn && flow.target_port == first.target_port;
  });
  if (syns_to_one_port) {
    return fmt::format("TCP {} to port {}", one ? "SYN" : "SYNs", first.target_port);
  }
  return one ? "probe" : "probes";
}

std::string describe_probes(const Evidence& evidence, const Diagnosis& diagnosis) {
  const RunRecord& run = evidence.run;
  const diagnose::ProbeSummary& probes = diagnosis.probes;
  const bool one = probes.sent_count == 1;
  const std::string what = probes_text(evidence, one);
  // A capture has requests of others, which no schedule sent.
  std::string text = run.probe_interval_ns == 0
                         ? fmt::format("Captured to {}: {} request{}. {} answered late", target_name(run),
                                       format_count(probes.sent_count), one ? "" : "s", format_count(probes.late_count))
                         : fmt::format("Probed {}: {} {}, one every {}. {} late", target_name(run), format_count(probes.sent_count),
                                       what, format_duration(run.probe_interval_ns), format_count(probes.late_count));
  if (probes.late_count > 0) {
    text += fmt::format(" ({})", base::format_percent(diagnose::fraction(probes.late_count, probes.sent_count)));
  }
  if (probes.answered_count > 0) {
    text += fmt::format(", worst {} ms", format_ms(probes.worst_ns));
  }
  text += fmt::format(", {} lost", format_count(probes.lost_count));
  if (probes.own_late_count > 0) {
    text += fmt::format(", {} sent late by the prober itself", format_count(probes.own_late_count));
  }
  if (probes.undecided_count > 0) {
    text += fmt::format(", {} still unanswered at the end", format_count(probes.undecided_count));
  }
  return text + ".";
}

std::string describe_watch(const RunRecord& run) {
  return fmt::format("Watched {} CPU{} of {} for {}, without a probe.", run.cpu_count, run.cpu_count == 1 ? "" : "s",
                     run.hostname.empty() ? "this host" : run.hostname, format_duration(run_length_ns(run)));
}

std::string describe_state(const RunRecord& run) {
  const std::string when =
      fmt::format("after {} of {}", format_duration(run_length_ns(run)), format_duration(run.planned_duration_ns));
  if (run.state == "interrupted") {
    return fmt::format("The recording was interrupted {}.", when);
  }
  if (run.state == "failed") {
    return fmt::format("The recording failed {}; this is what it had kept.", when);
  }
  if (run.state == "recording") {
    return fmt::format("The recorder was ended from outside {}; this is what it had kept.", when);
  }
  return {};
}

/// "while receiving on 10.0.1.2", where that is known of every stall.
std::string describe_direction(const RunRecord& run, const std::vector<Stall>& stalls) {
  const auto all_of = [&](auto matches) { return std::all_of(stalls.begin(), stalls.end(), matches); };
  if (all_of([](const Stall& stall) { return stall.request_count > 0 && stall.reply_count == 0; })) {
    return fmt::format("while receiving on {}", run.target);
  }
  if (all_of([](const Stall& stall) { return stall.reply_count > 0 && stall.request_count == 0; })) {
    return "while receiving the replies";
  }
  return {};
}

std::string describe_cpus(const std::vector<Stall>& stalls) {
  std::set<std::int32_t> cpus;
  bool all_known = true;
  for (const Stall& stall : stalls) {
    all_known = all_known && stall.cpu.has_value();
    if (stall.cpu) {
      cpus.insert(*stall.cpu);
    }
  }
  if (cpus.empty()) {
    return {};
  }
  std::string names;
  for (const std::int32_t cpu : cpus) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", cpu);
  }
  return fmt::format("{}CPU{} {}", all_known ? "" : "some on ", cpus.size() == 1 ? "" : "s", names);
}

std::string describe_stalls(const RunRecord& run, const std::vector<Stall>& stalls) {
  std::string text =
      fmt::format("{} stall{}", format_count(static_cast<std::int64_t>(stalls.size())), stalls.size() == 1 ? "" : "s");
  const std::string direction = describe_direction(run, stalls);
  const std::string cpus = describe_cpus(stalls);
  if (!direction.empty()) {
    text += fmt::format(", {}{}", stalls.size() == 1 ? "" : "all ", direction);
  }
  if (!cpus.empty()) {
    text += ", " + cpus;
  }
  return text + " (times in UTC)";
}

void write_paragraph(Page& page, const std::string& text) {
  for (const std::string& line : fill(printable(text), page.width())) {
    page.line(line);
  }
}

void write_header(Page& page, const Evidence& evidence, const Diagnosis& diagnosis) {
  write_paragraph(page, diagnosis.probed ? describe_probes(evidence, diagnosis) : describe_watch(evidence.run));
  if (!diagnosis.late_time.empty()) {
    write_paragraph(page, fmt::format("Time of the late ones: {}.", late_parts_text(diagnosis.late_time)));
  }
  const std::string state = describe_state(evidence.run);
  if (!state.empty()) {
    write_paragraph(page, state);
  }
  write_paragraph(page, diagnosis.stalls.empty() ? "No stall was seen." : describe_stalls(evidence.run, diagnosis.stalls));
}

void write_stalls(Page& page, const Evidence& evidence, const Diagnosis& diagnosis, const TextOptions& options) {
  const std::vector<Stall>& stalls = diagnosis.stalls;
  std::vector<std::size_t> order(stalls.size());
  for (std::size_t index = 0; index < order.size(); ++index) {
    order[index] = index;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return stalls[a].length_ns() > stalls[b].length_ns(); });
  const std::size_t shown = options.all ? order.size() : std::min(order.size(), shown_stall_count);
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown));
  const diagnose::StackTable stacks(evidence);
  for (std::size_t position = 0; position < shown; ++position) {
    const std::size_t index = order[position];
    page.blank();
    write_stall(page, {evidence, stacks, options.all}, stalls[index], index + 1);
  }
  if (shown < order.size()) {
    page.blank();
    write_paragraph(page, fmt::format("... and {} more, none longer than {} ms (show them with: stallscope report --all)",
                                      format_count(static_cast<std::int64_t>(order.size() - shown)),
                                      format_ms(stalls[order[shown]].length_ns())));
  }
}

/// "296 of 305 ms"
std::string of_total(std::int64_t part_ns, std::int64_t total_ns) {
  if (total_ns < 100 * base::ns_per_ms) {
    return fmt::format("{} of {} ms", format_ms(part_ns), format_ms(total_ns));
  }
  const auto whole_ms = [](std::int64_t length_ns) { return format_count((length_ns + (base::ns_per_ms / 2)) / base::ns_per_ms); };
  return fmt::format("{} of {} ms", whole_ms(part_ns), whole_ms(total_ns));
}

std::string_view confidence_name(diagnose::Confidence confidence) {
  switch (confidence) {
    case diagnose::Confidence::low:
      return "low";
    case diagnose::Confidence::medium:
      return "medium";
    case diagnose::Confidence::high:
      break;
  }
  return "high";
}

void write_items(Page& page, std::string_view label, const std::vector<std::string>& items) {
  for (const std::string& item : items) {
    page.labelled(label, finding_label_indent, finding_indent, fill(printable(item), page.room(finding_indent)));
    label = {};
  }
}

void write_other_causes(Page& page, const Finding& finding) {
  const auto list = [&](OtherCause::Verdict verdict) {
    std::string text;
    for (const OtherCause& cause : finding.other_causes) {
      if (cause.verdict == verdict) {
        text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", cause.name, cause.measured);
      }
    }
    return text.empty() ? std::vector<std::string>{} : std::vector<std::string>{text};
  };
  write_items(page, "not", list(OtherCause::Verdict::excluded));
  write_items(page, "also", list(OtherCause::Verdict::present));
  write_items(page, "?", list(OtherCause::Verdict::unknown));
}

void write_finding(Page& page, const Finding& finding, std::int64_t stalled_ns) {
  page.blank();
  std::vector<std::string> lines = fill(printable(finding.cause), page.room(finding_indent));
  const std::string id = fmt::format("({})", finding.rule_id);
  const std::size_t room = page.room(finding_indent);
  if (lines.empty() || display_width(lines.back()) + 2 + id.size() > room) {
    lines.emplace_back();
  }
  lines.back() += std::string(room - display_width(lines.back()) - id.size(), ' ') + id;
  page.labelled("Cause", 0, finding_indent, lines, Emphasis::bold);
  const std::string amount = of_total(finding.explained_ns, stalled_ns);
  const std::string percent = base::format_percent(diagnose::fraction(finding.explained_ns, stalled_ns));
  std::string verdict = finding.confidence ? fmt::format("explains {} stalled ({})", amount, percent)
                                           : fmt::format("leaves {} stalled unexplained ({})", amount, percent);
  if (finding.confidence && finding.claims.empty()) {
    verdict = fmt::format("no stall: {}", finding.no_stall);
  }
  if (finding.confidence) {
    verdict += fmt::format(", confidence {}", confidence_name(*finding.confidence));
    verdict += *finding.confidence == diagnose::Confidence::high ? std::string{} : fmt::format(": {}", finding.confidence_reason);
  }
  page.labelled("", 0, finding_indent, fill(printable(verdict), room));
  write_items(page, "for", finding.evidence_for);
  write_other_causes(page, finding);
  write_items(page, "do", finding.next_steps);
}

/// What was looked at, for a report that found nothing there.
std::vector<std::string> describe_observation(const Evidence& evidence, const Diagnosis& diagnosis) {
  const RunRecord& run = evidence.run;
  std::vector<std::string> sentences;
  if (!run.traced) {
    return {"The kernel was not watched: that no stall was seen rests on the probes alone."};
  }
  sentences.push_back(fmt::format("Watched {} CPU{} of {} (Linux {}) for {}: waits of {} or more.", run.cpu_count,
                                  run.cpu_count == 1 ? "" : "s", run.hostname.empty() ? "this host" : run.hostname,
                                  run.kernel_release, format_duration(run_length_ns(run)), format_duration(run.wait_threshold_ns)));
  if (diagnosis.other_waits.count == 0) {
    sentences.emplace_back("There was none.");
  } else {
    sentences.push_back(fmt::format("There {} {}, the longest {}; as far as is known no packet waited in {} for {} or more.",
                                    diagnosis.other_waits.count == 1 ? "was" : "were", format_count(diagnosis.other_waits.count),
                                    format_duration(diagnosis.other_waits.longest_ns),
                                    diagnosis.other_waits.count == 1 ? "it" : "them",
                                    format_duration(diagnose::unprobed_report_ns)));
  }
  return sentences;
}

void write_observation(Page& page, const Evidence& evidence, const Diagnosis& diagnosis) {
  std::string text;
  for (const std::string& sentence : describe_observation(evidence, diagnosis)) {
    text += (text.empty() ? "" : " ") + sentence;
  }
  write_paragraph(page, text);
}

void write_notes(Page& page, const Diagnosis& diagnosis) {
  for (const std::string& note : diagnosis.notes) {
    page.blank();
    page.labelled("Note", 0, finding_indent, fill(printable(note), page.room(finding_indent)));
  }
}

void write_limits(Page& page, const Diagnosis& diagnosis) {
  if (!diagnosis.losses.empty()) {
    page.blank();
  }
  for (const evidence::LossRecord& loss : diagnosis.losses) {
    const std::string text = fmt::format("{} event{} in the {}: stalls, or who held the CPU, may be missing from this report",
                                         format_count(loss.count), loss.count == 1 ? "" : "s", loss.where);
    page.labelled("Lost", 0, finding_indent, fill(printable(text), page.room(finding_indent)));
  }
  if (diagnosis.gaps.empty()) {
    return;
  }
  page.blank();
  page.line("Not observed", Emphasis::bold);
  for (const evidence::GapRecord& gap : diagnosis.gaps) {
    std::string text = gap.what;
    text += gap.reason.empty() ? "" : fmt::format(" ({})", gap.reason);
    text += gap.consequence.empty() ? "" : fmt::format(": {}", gap.consequence);
    page.labelled("", 0, finding_label_indent, fill(printable(text), page.room(finding_label_indent)));
  }
}

/// A path is for copying: where there is no room for it, it gets a line of its own and is never shortened.
void write_whole(Page& page, const std::string& line, const std::string& without_path, const std::string& path) {
  if (display_width(line) <= page.width()) {
    page.line(line);
    return;
  }
  page.line(without_path);
  page.line("  " + path);
}

void write_bundle_path(Page& page, const std::string& path, bool cause_named) {
  if (path.empty()) {
    return;
  }
  page.blank();
  const std::string safe = printable(path);
  write_whole(page, fmt::format("Evidence kept in {} (open: stallscope report, sqlite3)", safe),
              "Evidence kept in (open: stallscope report, sqlite3):", safe);
  if (cause_named) {
    const std::string command = "stallscope remedy plan " + safe;
    write_whole(page, "What can be done, gentlest first: " + command, "What can be done, gentlest first:", command);
  }
}

}  // namespace

std::string render_text(const Evidence& evidence, const Diagnosis& diagnosis, const TextOptions& options) {
  Page page(std::max(options.width, least_width), options.colour);
  write_header(page, evidence, diagnosis);
  if (diagnosis.stalls.empty()) {
    write_observation(page, evidence, diagnosis);
  }
  write_stalls(page, evidence, diagnosis, options);
  for (const Finding& finding : diagnosis.findings) {
    write_finding(page, finding, diagnosis.stalled_ns);
  }
  write_notes(page, diagnosis);
  write_limits(page, diagnosis);
  // Only what has been named can be remedied.
  const bool named = std::any_of(diagnosis.findings.begin(), diagnosis.findings.end(),
                                 [](const Finding& finding) { return finding.confidence.has_value(); });
  write_bundle_path(page, options.bundle_path, named);
  return page.take();
}

}  // namespace stallscope::report
