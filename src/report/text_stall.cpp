// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "evidence/containers.h"
#include "evidence/syscalls.h"
#include "report/text_parts.h"

namespace stallscope::report {
namespace {

using base::format_count;
using base::format_ms;
using base::printable;
using diagnose::HeldProbes;
using diagnose::Release;
using diagnose::Share;
using diagnose::ShareKind;
using diagnose::Stall;
using evidence::Evidence;
using evidence::Occupant;
using evidence::WaitMode;

constexpr std::size_t label_indent = 4;
constexpr std::size_t indent = 14;
/// "   98.6 ms  99.9 %" at the right edge.
constexpr std::size_t amount_width = 18;
/// Shares below one part in this many of the stall are left to the JSON report.
constexpr std::int64_t least_share_divisor = 100;
/// Functions shown of a stack, unless all are asked for: half from each end.
constexpr std::size_t shown_function_count = 12;
/// The sequence number of an ICMP echo has 16 bits.
constexpr std::int64_t wire_sequences = 65536;

std::string mode_text(const Evidence& evidence, WaitMode mode, const Share& share) {
  std::string text(evidence::wait_mode_title(mode));
  if (mode == WaitMode::softirq_vector && share.wait) {
    text += fmt::format(" ({})", evidence::softirq_vector_name(evidence.waits[*share.wait].vector));
  }
  return text;
}

const Share* longest_with_mode(const Stall& stall) {
  const auto found =
      std::find_if(stall.shares.begin(), stall.shares.end(), [](const Share& share) { return share.mode.has_value(); });
  return found == stall.shares.end() ? nullptr : &*found;
}

std::string process_of(const Occupant& occupant) {
  if (occupant.pid == 0) {
    return occupant.is_idle() ? "idle" : "its pid is gone";
  }
  std::string text = fmt::format("pid {}", occupant.tgid != 0 ? occupant.tgid : occupant.pid);
  if (occupant.tgid != 0 && occupant.tgid != occupant.pid) {
    text += fmt::format(", thread {}", occupant.pid);
  }
  return text + (occupant.kernel_thread ? ", kernel thread" : "");
}

std::string syscall_text(const Occupant& occupant) {
  if (!occupant.syscall_number) {
    return occupant.file.empty() ? std::string{} : "with " + occupant.file;
  }
  std::string text = evidence::syscall_name(*occupant.syscall_number);
  // The kernel takes a descriptor as an int; what is above its 32 bits means nothing.
  const auto descriptor = static_cast<std::int32_t>(occupant.syscall_arguments[0] & 0xffffffffU);
  if (occupant.arguments_known() && evidence::syscall_takes_descriptor(*occupant.syscall_number) && descriptor >= 0) {
    text += fmt::format("({})", descriptor);
  }
  if (!occupant.file.empty()) {
    const std::size_t slash = occupant.file.rfind('/');
    text += slash == std::string::npos || slash + 1 == occupant.file.size()
                ? fmt::format(" of {}", occupant.file)
                : fmt::format(" of {} in {}", occupant.file.substr(slash + 1), slash == 0 ? "/" : occupant.file.substr(0, slash));
  }
  return text;
}

std::vector<std::string> stack_lines(const std::vector<std::string>& frames, bool all, std::size_t width) {
  const std::vector<std::string_view> functions = diagnose::telling_functions(frames);
  const std::size_t half = shown_function_count / 2;
  std::vector<std::string> words;
  for (std::size_t index = 0; index < functions.size(); ++index) {
    const bool cut = !all && functions.size() > shown_function_count && index >= half && index < functions.size() - half;
    if (cut && index > half) {
      continue;
    }
    words.push_back(cut ? "..." : printable(functions[index]));
    words.back() += index + 1 < functions.size() ? " >" : "";
  }
  return fill(words, width);
}

void append(std::vector<std::string>& lines, std::vector<std::string> more) {
  lines.insert(lines.end(), more.begin(), more.end());
}

/// Who, with where it belongs on the same line if there is room for both.
std::vector<std::string> occupant_lines(const Page& page, const StallText& source, const Occupant& occupant) {
  const std::size_t first_room = page.room(indent + amount_width);
  const std::size_t room = page.room(indent);
  const std::string comm = printable(occupant.comm);
  const std::string cgroup = printable(occupant.cgroup);
  std::vector<std::string> lines;
  const std::string together = fmt::format("{} ({}, cgroup {})", comm, process_of(occupant), cgroup);
  if (!cgroup.empty() && display_width(together) <= first_room) {
    lines.push_back(together);
  } else {
    lines.push_back(fit(fmt::format("{} ({})", comm, process_of(occupant)), first_room));
    if (!cgroup.empty()) {
      lines.push_back(fit("cgroup " + cgroup, room));
    }
  }
  const evidence::CgroupOwner owner = evidence::cgroup_owner(occupant.cgroup);
  if (!owner.container_id.empty() || !owner.pod_uid.empty()) {
    append(lines, fill(printable(evidence::describe_owner(owner)), room));
  }
  append(lines, fill(printable(syscall_text(occupant)), room));
  if (const std::vector<std::string>* frames = source.stacks.frames(occupant.stack_id)) {
    append(lines, stack_lines(*frames, source.all, room));
  }
  return lines;
}

std::vector<std::string> share_lines(const Page& page, const StallText& source, const Share& share) {
  switch (share.kind) {
    case ShareKind::occupant:
      return occupant_lines(page, source, *diagnose::occupant_of(source.evidence, share));
    case ShareKind::hypervisor:
      return {"virtual CPU not running (hypervisor)"};
    case ShareKind::unseen:
      return {"not seen by whom"};
    case ShareKind::catching_up:
      return {"network stack catching up"};
    case ShareKind::unexplained:
      break;
  }
  return {"unexplained"};
}

void write_shares(Page& page, const StallText& source, const Stall& stall) {
  std::string_view label = "held by";
  for (const Share& share : stall.shares) {
    if (share.length_ns < stall.length_ns() / least_share_divisor) {
      continue;
    }
    std::vector<std::string> lines = share_lines(page, source, share);
    const std::string amount = fmt::format("{:>9} {:>7}", format_ms(share.length_ns) + " ms",
                                           base::format_percent(diagnose::fraction(share.length_ns, stall.length_ns())));
    const std::size_t room = page.room(indent);
    lines.front() += std::string(room - std::min(room, display_width(lines.front()) + amount.size()), ' ') + amount;
    if (share.mode && stall.mode && share.mode != stall.mode) {
      lines.push_back("mode: " + mode_text(source.evidence, *share.mode, share));
    }
    page.labelled(label, label_indent, indent, lines);
    label = {};
  }
}

std::string sequence_text(const Evidence& evidence, const HeldProbes& held) {
  const auto range = [](std::int64_t first, std::int64_t last) {
    return first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
  };
  const std::string sequences = range(held.first_sequence, held.last_sequence);
  if (!evidence.only_echoes()) {
    return "probe " + sequences;
  }
  if (held.last_sequence < wire_sequences) {
    return "icmp_seq " + sequences;
  }
  return fmt::format("probe {} (icmp_seq {})", sequences,
                     range(held.first_sequence % wire_sequences, held.last_sequence % wire_sequences));
}

std::string slope_text(const diagnose::SlopeFit& fit) {
  return fit.standard_error ? fmt::format("slope {:.2f} +- {:.2f}", fit.slope, *fit.standard_error)
                            : fmt::format("slope {:.2f}", fit.slope);
}

std::string held_text(const Evidence& evidence, const HeldProbes& held) {
  const auto count = static_cast<std::int64_t>(held.probes.size());
  if (count == 1) {
    return fmt::format("1 held: {}, RTT {} ms (one probe shows no slope)", sequence_text(evidence, held),
                       format_ms(held.first_score_ns));
  }
  const std::string what = fmt::format("{}, RTT {} > {} ms", sequence_text(evidence, held), format_ms(held.first_score_ns),
                                       format_ms(held.last_score_ns));
  switch (held.release) {
    case Release::together:
      return fmt::format("{} held: {}, falling as fast as they were sent ({}): all waited in the queue and were released together",
                         format_count(count), what, slope_text(*held.fit));
    case Release::apart:
      return fmt::format("{} late: {} ({}): not released together, so not held in one queue", format_count(count), what,
                         slope_text(*held.fit));
    case Release::unknown:
      break;
  }
  return fmt::format("{} held: {}; whether they were released together cannot be told", format_count(count), what);
}

std::vector<std::string> packet_sentences(const Evidence& evidence, const Stall& stall) {
  std::vector<std::string> sentences;
  const auto held_count = static_cast<std::int64_t>(stall.held.probes.size());
  if (held_count > 0) {
    sentences.push_back(held_text(evidence, stall.held));
  } else if (!evidence.probes.empty()) {
    sentences.emplace_back("no probe was held");
  }
  if (stall.lost_probe_count > 0) {
    sentences.push_back(fmt::format("{} probe{} sent meanwhile never answered", format_count(stall.lost_probe_count),
                                    stall.lost_probe_count == 1 ? " was" : "s were"));
  }
  if (stall.prober_delayed_count > 0) {
    sentences.push_back(fmt::format("{} probe{} not sent on time: the prober itself was held up on CPU {}",
                                    format_count(stall.prober_delayed_count), stall.prober_delayed_count == 1 ? " was" : "s were",
                                    stall.cpu.value_or(-1)));
  }
  if (stall.packets_released && *stall.packets_released > held_count) {
    sentences.push_back(fmt::format("{} packet{} delivered when it ended", format_count(*stall.packets_released),
                                    *stall.packets_released == 1 ? " was" : "s were"));
  } else if (!stall.packets_released && held_count == 0) {
    sentences.emplace_back("how many packets waited is not known");
  }
  return sentences;
}

/// "cadvisor: ksys_read > ... > css_rstat_flush": where it came from and what it was at, one line.
std::string sample_text(const StallText& source, const evidence::SampleRecord& sample) {
  std::string who = sample.is_idle() ? "idle" : printable(sample.comm);
  const std::vector<std::string>* frames = source.stacks.frames(sample.stack_id);
  if (frames == nullptr) {
    return sample.is_idle() ? who : who + ": user space";
  }
  const std::vector<std::string_view> functions = diagnose::telling_functions(*frames);
  if (sample.sample_count == 0) {
    // Of a raw stack the outer end can be trusted most; what lies further in may have returned already.
    constexpr std::size_t shown_count = 5;
    const std::vector<std::string_view> outer(
        functions.begin(), functions.begin() + static_cast<std::ptrdiff_t>(std::min(functions.size(), shown_count)));
    return who + ": " + printable(fmt::format("{}", fmt::join(outer, " > "))) + (functions.size() > shown_count ? " > ..." : "");
  }
  const std::string_view working = diagnose::working_function(*frames);
  if (functions.empty() || working.empty()) {
    return who;
  }
  std::string text = who + ": ";
  if (functions.front() != working) {
    text += printable(functions.front()) + (functions.size() > 2 ? " > ... > " : " > ");
  }
  return text + printable(working);
}

/// Who had the CPU, in order, by the samples of its waits.
void write_samples(Page& page, const StallText& source, const Stall& stall) {
  std::vector<const evidence::SampleRecord*> samples;
  for (const evidence::SampleRecord& sample : source.evidence.samples) {
    const bool of_stall = std::any_of(stall.waits.begin(), stall.waits.end(),
                                      [&](std::size_t wait) { return source.evidence.waits[wait].id == sample.wait_id; });
    if (of_stall) {
      samples.push_back(&sample);
    }
  }
  std::stable_sort(samples.begin(), samples.end(), [](const auto* a, const auto* b) { return a->first_ns < b->first_ns; });
  std::string_view label = "in order";
  for (auto sample = samples.begin(); sample != samples.end();) {
    const std::string text = sample_text(source, **sample);
    const std::int64_t since_ns = diagnose::saturating_subtract((*sample)->first_ns, stall.start_ns);
    std::int64_t count = 0;
    const bool hint = (*sample)->sample_count == 0;
    for (; sample != samples.end() && ((*sample)->sample_count == 0) == hint && sample_text(source, **sample) == text; ++sample) {
      count += (*sample)->sample_count;
    }
    const std::string how =
        count == 0 ? "seen from another CPU (a hint)" : fmt::format("{} sample{}", count, count == 1 ? "" : "s");
    const std::string when = fmt::format("+{} ms, {}: ", format_ms(since_ns), how);
    page.labelled(label, label_indent, indent,
                  count == 0 ? fill(when + text, page.room(indent))
                             : std::vector<std::string>{when + fit(text, page.room(indent + when.size()))});
    label = {};
  }
}

}  // namespace

void write_stall(Page& page, const StallText& source, const Stall& stall, std::size_t number) {
  const std::int64_t start_utc_ns = diagnose::saturating_add(stall.start_ns, source.evidence.run.realtime_offset_ns);
  const Share* with_mode = longest_with_mode(stall);
  page.line(fmt::format("{:<3} {}   {} ms   {}   {}", fmt::format("#{}", number), base::time_of_day(start_utc_ns),
                        format_ms(stall.length_ns()), stall.cpu ? fmt::format("CPU {}", *stall.cpu) : "CPU unknown",
                        with_mode != nullptr ? mode_text(source.evidence, *with_mode->mode, *with_mode) : "not explained"),
            Emphasis::bold);
  write_shares(page, source, stall);
  std::string_view label = "packets";
  for (const std::string& sentence : packet_sentences(source.evidence, stall)) {
    page.labelled(label, label_indent, indent, fill(printable(sentence), page.room(indent)));
    label = {};
  }
  if (source.all) {
    write_samples(page, source, stall);
  }
}

}  // namespace stallscope::report
