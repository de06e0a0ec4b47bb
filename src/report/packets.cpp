// SPDX-License-Identifier: Apache-2.0
#include "report/packets.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "base/clock.h"
#include "base/text.h"
#include "base/units.h"
#include "diagnose/arithmetic.h"
#include "evidence/syscalls.h"
#include "report/layout.h"

namespace stallscope::report {
namespace {

using base::format_ms;
using base::printable;
using diagnose::LatePart;
using evidence::Evidence;
using evidence::PacketRecord;
using evidence::ProbeRecord;
using evidence::ServedBy;
using Kind = LatePart::Kind;

constexpr std::size_t packet_indent = 8;
/// A part that would be printed as 0.0 ms is left to the JSON report.
constexpr std::int64_t least_shown_ns = base::ns_per_ms / 20;

std::string served_text(const PacketRecord& packet) {
  switch (packet.served_by) {
    case ServedBy::task: {
      const std::string call = packet.syscall_number ? "a " + evidence::syscall_name(*packet.syscall_number) + " of " : "";
      return fmt::format("in {}{} (pid {})", call, packet.comm, packet.pid);
    }
    case ServedBy::ksoftirqd:
    case ServedBy::napi_thread:
      return "by " + packet.comm;
    case ServedBy::idle:
      return "on the idle CPU";
    case ServedBy::unknown:
      break;
  }
  return "in an unknown context";
}

std::string packet_text(const PacketRecord& packet) {
  const std::string queue = packet.rx_queue >= 0 ? fmt::format(", RX queue {}", packet.rx_queue) : "";
  const std::string stood = packet.enqueued_ns != 0
                                ? fmt::format("{} ms in the queue", format_ms(packet.received_ns - packet.enqueued_ns))
                                : "arrival hidden by the queue";
  return fmt::format("{} at {}, CPU {}{}: {}, served {}", evidence::packet_leg_id(packet.leg), packet.device, packet.cpu, queue,
                     stood, served_text(packet));
}

std::string reply_text(const Evidence& evidence, const diagnose::Diagnosis& diagnosis, std::size_t index,
                       const std::vector<LatePart>* parts) {
  const ProbeRecord& probe = evidence.probes[index];
  const std::string sent = base::time_of_day(diagnose::saturating_add(probe.intended_ns, evidence.run.realtime_offset_ns));
  if (diagnosis.fates[index] == diagnose::ProbeFate::unusable) {
    return sent + "  its times are impossible";
  }
  if (!probe.answered()) {
    return sent + "  no reply";
  }
  std::string text = fmt::format("{} {} ms:", sent, format_ms(probe.score_ns()));
  if (parts != nullptr) {
    text += " " + late_parts_text(*parts);
  }
  return text;
}

}  // namespace

std::string_view late_part_title(const LatePart& part) {
  switch (part.kind) {
    case Kind::prober:
      return "sent late by the prober";
    case Kind::wait:
      return part.mode ? evidence::wait_mode_title(*part.mode) : "?";
    case Kind::catching_up:
      return "network stack catching up";
    case Kind::network:
      return "network";
    case Kind::unexplained:
      break;
  }
  return "unexplained";
}

std::string_view late_part_id(const LatePart& part) {
  switch (part.kind) {
    case Kind::prober:
      return "prober";
    case Kind::wait:
      return part.mode ? evidence::wait_mode_id(*part.mode) : "?";
    case Kind::catching_up:
      return "catching_up";
    case Kind::network:
      return "network";
    case Kind::unexplained:
      break;
  }
  return "unexplained";
}

std::string late_parts_text(const std::vector<LatePart>& parts) {
  std::int64_t total_ns = 0;
  for (const LatePart& part : parts) {
    total_ns = diagnose::saturating_add(total_ns, part.length_ns);
  }
  std::string text;
  for (const LatePart& part : parts) {
    if (part.length_ns < least_shown_ns) {
      continue;
    }
    text += fmt::format("{}{} {} ms ({})", text.empty() ? "" : ", ", late_part_title(part), format_ms(part.length_ns),
                        base::format_percent(diagnose::fraction(part.length_ns, total_ns)));
  }
  return text;
}

std::string render_packets(const Evidence& evidence, const diagnose::Diagnosis& diagnosis, const TextOptions& options) {
  Page page(options.width, options.colour);
  std::map<std::size_t, const std::vector<LatePart>*> parts;
  for (const diagnose::LateProbe& late : diagnosis.late_probes) {
    parts.emplace(late.probe, &late.parts);
  }
  std::multimap<std::int64_t, const PacketRecord*> packets;
  for (const PacketRecord& packet : evidence.packets) {
    packets.emplace(packet.sequence, &packet);
  }
  std::size_t label_width = 4;
  for (const ProbeRecord& probe : evidence.probes) {
    label_width = std::max(label_width, fmt::format("{}", probe.sequence).size());
  }
  page.line(fmt::format("{:>{}}  sent (UTC), reply, and where its time went", "seq", label_width), Emphasis::bold);
  bool any = false;
  for (std::size_t index = 0; index < evidence.probes.size(); ++index) {
    const auto late = parts.find(index);
    if (late == parts.end() && !options.all) {
      continue;
    }
    any = true;
    const std::int64_t sequence = evidence.probes[index].sequence;
    const std::size_t indent = label_width + 2;
    page.labelled(
        fmt::format("{:>{}}", sequence, label_width), 0, indent,
        fill(printable(reply_text(evidence, diagnosis, index, late == parts.end() ? nullptr : late->second)), page.room(indent)));
    const auto [first, last] = packets.equal_range(sequence);
    std::vector<const PacketRecord*> seen;
    std::transform(first, last, std::back_inserter(seen), [](const auto& entry) { return entry.second; });
    std::sort(seen.begin(), seen.end(), [](const auto* a, const auto* b) { return a->received_ns < b->received_ns; });
    for (const PacketRecord* packet : seen) {
      page.labelled("", 0, packet_indent, fill(printable(packet_text(*packet)), page.room(packet_indent)));
    }
  }
  if (!any) {
    page.line(evidence.probes.empty() ? "No probe was sent." : "No probe was late (every one: stallscope report --packets --all).");
  }
  return page.take();
}

}  // namespace stallscope::report
